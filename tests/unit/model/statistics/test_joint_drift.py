"""How columns go together: what no single column shows."""

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import Feature
from model.statistics.drift import MIN_JOINT_ROWS, joint_drift

FEATURES = (
    Feature(name="one", type="number", nullable=True, example=0.0),
    Feature(name="other", type="number", nullable=True, example=0.0),
    Feature(name="apart", type="number", nullable=True, example=0.0),
    Feature(name="kind", type="category", categories=("low", "high"), nullable=True, example="low"),
)


def rows(seed: int, number: int, *, moved: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=number) + moved
    frame = pd.DataFrame({"one": one, "other": one + rng.normal(0, 0.5, number), "apart": rng.normal(size=number)})
    return frame.assign(kind=np.where(one + rng.normal(0, 1, number) > moved, "high", "low").astype(object))


@pytest.fixture(scope="module")
def reference():
    return rows(0, 2_000)


def test_two_columns_that_no_longer_belong_together_are_found_and_named(reference):
    window = rows(1, 500)
    window["other"] = np.random.default_rng(2).permutation(window["other"])

    found = joint_drift(window, reference, FEATURES)

    assert found.separation > 0.7
    one, other, before, now = found.pairs[0]
    assert {one, other} == {"one", "other"}
    assert (before > 0.8, abs(now) < 0.2) == (True, True)


def test_rows_like_the_reference_are_not_told_apart(reference):
    found = [joint_drift(rows(seed, 500), reference, FEATURES).separation for seed in range(10, 40)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.02)
    assert max(found) < 0.6


def test_columns_that_move_by_themselves_do_not_count(reference):
    assert joint_drift(rows(3, 500, moved=3.0), reference, FEATURES).separation < 0.6


def test_missing_values_new_categories_and_constants_are_no_error(reference):
    window = rows(4, 300).assign(apart=np.nan, kind="never seen")
    window.loc[:100, "kind"] = None

    assert 0 <= joint_drift(window, reference, FEATURES).separation <= 1


def test_few_rows_or_one_column_have_no_figure(reference):
    assert joint_drift(rows(5, MIN_JOINT_ROWS - 1), reference, FEATURES) is None
    assert joint_drift(rows(5, 500), reference, FEATURES[:1]) is None
