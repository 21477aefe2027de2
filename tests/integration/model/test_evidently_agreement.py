"""Our drift statistics are those that Evidently computes: a threshold calibrated on ours means the same there."""

import warnings

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import DriftMethod
from model.statistics.drift import JensenShannonStatistic, WassersteinStatistic

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside Evidently and what it imports
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    from evidently_workspace.checks.drift import STATTESTS

RNG = np.random.default_rng(5)


def gappy(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", share: float) -> pd.Series:
    return pd.Series(np.where(RNG.random(len(values)) < share, np.nan, values))


def texts(values: str, rows: int, missing: float) -> pd.Series:
    return pd.Series(
        [None if RNG.random() < missing else str(RNG.choice(list(values))) for _ in range(rows)], dtype=object
    )


def evidently_value(reference: pd.Series, current: pd.Series, method: DriftMethod) -> float:
    kind = {"numerical_columns": ["x"]} if method == "wasserstein" else {"categorical_columns": ["x"]}
    definition = DataDefinition(**kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report([ValueDrift(column="x", method=STATTESTS[method])]).run(
            Dataset.from_pandas(pd.DataFrame({"x": current}), definition),
            Dataset.from_pandas(pd.DataFrame({"x": reference}), definition),
        )
    return float(snapshot.dict()["metrics"][0]["value"])


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (gappy(RNG.normal(size=80), 0), gappy(RNG.normal(0.5, 1, size=50), 0)),
        (gappy(RNG.lognormal(size=80), 0.2), gappy(RNG.lognormal(0.3, 1, size=300), 0.3)),
        (gappy(np.round(RNG.normal(size=40), 1), 0.1), gappy(np.round(RNG.normal(size=2000), 1), 0)),
        (gappy(RNG.integers(0, 3, 60).astype(float), 0), gappy(RNG.integers(1, 4, 60).astype(float), 0.5)),
        (pd.Series([2.0] * 30), pd.Series([2.0, 2.001] * 15)),
        (pd.Series([2e-9] * 30), pd.Series([2e-9, 3e-9] * 15)),
        (pd.Series([0.1] * 30), pd.Series([0.1, 0.2] * 15)),
        (pd.Series([0.0] * 30), pd.Series([0.0, 1.0] * 15)),
        (gappy(RNG.normal(1e6, 1e-5, size=30), 0), gappy(RNG.normal(1e6, 1e-5, size=30), 0)),
        (gappy(RNG.normal(0, 1e-9, size=80), 0.1), gappy(RNG.normal(1e-9, 1e-9, size=50), 0)),
    ],
)
def test_numbers(reference: pd.Series, current: pd.Series) -> None:
    ours = WassersteinStatistic(reference, current).distances(np.ones((len(current), 1)))[0]
    assert ours == pytest.approx(evidently_value(reference, current, "wasserstein"), rel=1e-9)


def test_a_shift_is_as_far_in_any_unit() -> None:
    reference, current = gappy(RNG.normal(5, 1, size=80), 0), gappy(RNG.normal(6, 1, size=50), 0)
    expected = evidently_value(reference, current, "wasserstein")
    assert expected > 0.5
    for unit in (1e-12, 1e-6, 1e6):
        assert evidently_value(unit * reference, unit * current, "wasserstein") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (texts("abc", 80, 0), texts("abc", 50, 0)),
        (texts("abc", 80, 0.2), texts("bcd", 50, 0.3)),
        (texts("ab", 40, 0), texts("xy", 40, 0)),
        (texts("abcdefghijklmnopqrstuvwxyz", 400, 0.1), texts("abcdefghijklm", 30, 0.1)),
        (pd.Series(["True", "False", None] * 20, dtype=object), pd.Series(["True"] * 9 + ["False"], dtype=object)),
    ],
)
def test_categories(reference: pd.Series, current: pd.Series) -> None:
    ours = JensenShannonStatistic(reference, current).distances(np.ones((len(current), 1)))[0]
    assert ours == pytest.approx(evidently_value(reference, current, "jensenshannon"), rel=1e-9, abs=1e-12)
