"""Which rows are said to carry a change, by examples that can be checked by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Manifest
from model.artifact.store import read_manifest, read_reference
from model.statistics.changed_rows import WindowFrames, most_changed, unexplained


@pytest.fixture(scope="module")
def iris(iris_artifact: Path) -> tuple[Manifest, pd.DataFrame]:
    return read_manifest(iris_artifact), read_reference(iris_artifact)


@pytest.fixture(scope="module")
def diabetes(diabetes_artifact: Path) -> tuple[Manifest, pd.DataFrame]:
    return read_manifest(diabetes_artifact), read_reference(diabetes_artifact)


def frames(current: pd.DataFrame, reference: pd.DataFrame) -> WindowFrames:
    return WindowFrames(current, current, reference)


def places(
    manifest: Manifest, of: WindowFrames, check: str, column: str | None, measure: str | None = None
) -> list[int]:
    return [row.place for row in most_changed(check, column, measure, of, manifest, limit=100)]


def test_a_category_is_unexplained_by_as_much_as_it_is_more_frequent() -> None:
    window = pd.Series(["a"] * 5 + ["b"] * 4 + ["new"])
    reference = pd.Series(["a"] * 4 + ["b"] * 4)
    assert unexplained(window, reference).round(3).tolist() == [0.0] * 9 + [1.0]
    assert unexplained(window, pd.Series(["a"] * 1 + ["b"] * 3)).round(3).tolist() == [0.5] * 5 + [0.0] * 4 + [1.0]


def test_missing_values_are_a_kind_of_their_own() -> None:
    reference = pd.Series(["a", "b", "a", "b"])
    assert unexplained(pd.Series(["a", None]), reference).round(3).tolist() == [0.0, 1.0]
    assert unexplained(pd.Series([1.0, np.nan]), pd.Series([1.0, 1.0])).round(3).tolist() == [0.0, 1.0]


def test_numbers_beyond_the_reference_come_first_and_the_furthest_of_them_first() -> None:
    reference = pd.Series(np.linspace(0, 1, 1000))
    window = pd.Series([0.5] * 5 + [9.0, 2.0, -3.0] + [0.5] * 92)
    order = np.argsort(-unexplained(window, reference), kind="stable")
    assert order[:3].tolist() == [5, 7, 6]


def test_a_value_at_which_numbers_pile_up_is_unexplained() -> None:
    reference = pd.Series(np.linspace(0, 1, 1000))
    window = pd.Series([0.123456] * 50 + np.linspace(0, 1, 50).tolist())
    scores = unexplained(window, reference)
    assert (scores[:50] > 0.85).all()
    assert np.median(scores[50:]) < 0.2


def test_a_window_like_the_reference_has_few_rows_to_show() -> None:
    rng = np.random.default_rng(0)
    scores = unexplained(pd.Series(rng.normal(size=2000)), pd.Series(rng.normal(size=2000)))
    assert scores.max() <= 1
    assert np.quantile(scores, 0.9) < 0.35


def test_the_rows_of_a_shifted_feature_are_those_that_were_shifted(iris: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = iris
    name = manifest.feature_names[0]
    current = reference.copy().reset_index(drop=True)
    shifted = list(range(0, len(current), 3))
    current.loc[shifted, name] += 10
    found = places(manifest, frames(current, reference), "data_drift", name)
    assert sorted(found[: len(shifted)]) == shifted


def test_data_quality_names_the_rows_that_are_counted(iris: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = iris
    name = manifest.feature_names[1]
    current = reference.copy().reset_index(drop=True)
    current.loc[3, name] = np.nan
    current.loc[5, name] = 1e6
    window = frames(current, reference)
    assert places(manifest, window, "data_quality", name, "missing") == [3]
    assert places(manifest, window, "data_quality", name, "out_of_range") == [5]
    current[name] = 4.5
    current.loc[0, name] = 4.0
    assert (
        places(manifest, frames(current, reference), "data_quality", name, "stuck")
        == list(range(1, len(current)))[:100]
    )


def test_wrong_answers_come_by_how_sure_the_model_was(iris: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = iris
    labelled = reference.head(4).copy().reset_index(drop=True)
    first, second, third = (str(name) for name in manifest.classes)
    labelled[PREDICTION] = [first, first, second, second]
    labelled[LABEL] = [first, second, third, first]
    for name, values in ((first, [0.9, 0.6, 0.1, 0.3]), (second, [0.1, 0.4, 0.8, 0.7]), (third, [0, 0, 0.1, 0])):
        labelled[PROBABILITY_PREFIX + name] = values
    window = frames(labelled, reference)
    found = most_changed("performance", "accuracy", "accuracy", window, manifest, limit=2)
    assert [(row.place, row.score, row.of_labelled) for row in found] == [(2, 0.8, True), (3, 0.7, True)]
    assert places(manifest, window, "concept_drift", None) == [2, 3, 1]
    assert places(manifest, window, "performance", second, "recall") == [1]


def test_numbers_that_are_far_off_come_by_the_usual_error(diabetes: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = diabetes
    labelled = reference.head(5).copy().reset_index(drop=True)
    labelled[LABEL] = labelled[PREDICTION] + [0.0, 5.0, -500.0, 50.0, 0.0]
    found = most_changed(
        "performance", "mean_absolute_error", "mean_absolute_error", frames(labelled, reference), manifest, limit=9
    )
    assert [row.place for row in found] == [2, 3, 1]
    assert found[0].score > 3 > found[-1].score


def test_attributions_unlike_those_of_the_reference_come_first(iris: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = iris
    assert manifest.attributions is not None
    usual = np.array([manifest.attributions.mean_absolute[name] for name in manifest.feature_names])
    other = usual[::-1] * 3
    window = WindowFrames(reference, reference, reference, np.array([usual, other]), np.array([4, 2]))
    found = most_changed("attribution_drift", None, "ndcg", window, manifest, limit=5)
    assert found[0].place == 2
    assert 0 < found[0].score <= 1
    without = most_changed("attribution_drift", None, "ndcg", frames(reference, reference), manifest, limit=5)
    assert without == []


def test_an_empty_window_has_no_rows(iris: tuple[Manifest, pd.DataFrame]) -> None:
    manifest, reference = iris
    empty = frames(reference.head(0), reference)
    for check, column in (
        ("data_drift", manifest.feature_names[0]),
        ("prediction_drift", PREDICTION),
        ("performance", "accuracy"),
    ):
        assert most_changed(check, column, None, empty, manifest, limit=5) == []
