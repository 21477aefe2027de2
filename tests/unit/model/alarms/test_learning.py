"""A service that learns: gross changes alarm at once, and what is usual is learned from its own windows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.alarms.effects import effects_of
from model.alarms.learning import (
    StoredWindow,
    alarms_while_learning,
    block_seconds,
    gross_thresholds,
    learn,
    windows_of,
)
from model.alarms.window_checks import check_windows, judge_windows
from model.alarms.window_segments import MAX_LEARNED, segment_histories
from model.alarms.window_values import Name, Windows, model_of
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import TrafficThreshold, WindowTraffic
from model.training.out_of_fold import wrong_predictions

HOUR, DAY = 3_600, 86_400
MONDAY = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())


@pytest.fixture
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


@pytest.fixture
def gross(iris_artifact: Path, manifest: Manifest) -> tuple[TrafficThreshold, ...]:
    model = model_of(manifest, read_reference(iris_artifact))
    return gross_thresholds(model, effects_of(manifest), attributions=True)


def hours(days: int, rng: np.random.Generator, *, broken: int | None = None) -> Windows:
    """Hours whose drift follows the hour of the day; one may be broken grossly."""
    stored = []
    for hour in range(24 * days):
        drift = 0.6 + 0.3 * np.sin(hour % 24 / 24 * 2 * np.pi) + rng.normal(0, 0.02)
        values = {Name("data_drift", "petal_length"): drift, Name("accuracy", None): 0.95}
        if hour == broken:
            values[Name("data_drift", "petal_length")] = 50.0
        stored.append(StoredWindow(MONDAY + hour * HOUR, 100, 80, values))
    return windows_of(stored)


def failed(artifact: Path, manifest: Manifest, rows: pd.DataFrame) -> set[tuple[str, str | None]]:
    (window,) = check_windows(rows, np.full(len(rows), float(MONDAY)), HOUR, manifest, read_reference(artifact))
    return {(failure.check, failure.column) for failure in window.failures}


def test_while_learning_only_a_gross_change_fails(
    iris_artifact: Path, manifest: Manifest, gross: tuple[TrafficThreshold, ...]
) -> None:
    learning = manifest.model_copy(update={"traffic": alarms_while_learning(gross, 100, "UTC")})
    rows = read_test(iris_artifact).sample(200, replace=True, random_state=1)
    shifted, broken, missing = rows.copy(), rows.copy(), rows.copy()
    shifted["petal_length"] += rows["petal_length"].std()
    broken["petal_length"] = 1_000.0
    missing.iloc[:150, missing.columns.get_loc("sepal_width")] = np.nan
    assert ("data_drift", "petal_length") in failed(iris_artifact, manifest, shifted)
    assert ("data_drift", "petal_length") not in failed(iris_artifact, learning, shifted)
    assert ("data_drift", "petal_length") in failed(iris_artifact, learning, broken)
    assert ("data_quality", "petal_length") in failed(iris_artifact, learning, broken)
    assert ("data_quality", "sepal_width") in failed(iris_artifact, learning, missing)


def test_every_statistic_is_learned_and_says_so(manifest: Manifest, gross: tuple[TrafficThreshold, ...]) -> None:
    window = WindowTraffic(alarms_while_learning(gross, 100, "UTC"))
    for name, column in (
        ("data_drift", "petal_length"),
        ("prediction_drift", "prediction"),
        ("target_drift", "label"),
        ("concept_z", None),
        ("accuracy", None),
        ("attribution_distance", None),
        ("missing_share", "sepal_width"),
    ):
        assert window.is_learning(name, column), name
    assert not WindowTraffic(manifest.traffic).is_learning("data_drift", "petal_length")


def test_what_is_usual_at_an_hour_is_learned_from_a_week(manifest: Manifest) -> None:
    windows = hours(8, np.random.default_rng(0))
    found = learn(windows, HOUR, manifest, false_alarm_days=100, zone="UTC", least_seconds=7 * DAY)
    assert found is not None
    assert found.days == 8
    assert found.false_alarm_days == 24  # three times what was seen, not the hundred that was asked for
    threshold = found.threshold("data_drift", "petal_length", HOUR)
    assert threshold is not None
    assert threshold.cycle == "hour"
    assert not threshold.is_gross
    assert threshold.usual[6] == pytest.approx(0.9, abs=0.1)
    assert threshold.usual[18] == pytest.approx(0.3, abs=0.1)


def test_what_was_a_gross_change_is_not_learned_as_usual(
    manifest: Manifest, gross: tuple[TrafficThreshold, ...]
) -> None:
    calm = learn(hours(8, np.random.default_rng(0)), HOUR, manifest, false_alarm_days=100, zone="UTC", only=gross)
    broken = learn(
        hours(8, np.random.default_rng(0), broken=50), HOUR, manifest, false_alarm_days=100, zone="UTC", only=gross
    )
    assert calm is not None
    assert broken is not None
    limits = [one.threshold("data_drift", "petal_length", HOUR) for one in (calm, broken)]
    assert limits[0] is not None
    assert limits[1] is not None
    assert max(limits[1].thresholds) < 1.5 * max(limits[0].thresholds)


def test_a_statistic_that_came_late_is_not_learned_yet(manifest: Manifest) -> None:
    windows = hours(8, np.random.default_rng(0))
    windows.values[Name("accuracy", None)][: 24 * 5] = np.nan
    found = learn(windows, HOUR, manifest, false_alarm_days=100, zone="UTC", least_seconds=7 * DAY)
    assert found is not None
    assert {one.name for one in found.thresholds} == {"data_drift"}


@pytest.mark.parametrize(("days", "unit"), [(30, DAY), (1, HOUR)])
def test_the_unit_of_chance_is_as_long_as_the_history_allows(days: int, unit: int) -> None:
    starts = MONDAY + np.arange(0, days * DAY, 900, dtype=np.int64)
    assert block_seconds(starts, 900) == unit
    assert block_seconds(starts[:10], 900) == 900


def test_too_few_windows_say_nothing(manifest: Manifest) -> None:
    few = windows_of([StoredWindow(MONDAY, 100, 80, {Name("data_drift", "petal_length"): 0.1})])
    assert learn(few, HOUR, manifest, false_alarm_days=100, zone="UTC") is None


def test_the_newer_alarms_replace_the_older_of_the_same_statistic(
    manifest: Manifest, gross: tuple[TrafficThreshold, ...]
) -> None:
    older = alarms_while_learning(gross, 100, "UTC")
    found = learn(hours(8, np.random.default_rng(0)), HOUR, manifest, false_alarm_days=100, zone="UTC", only=gross)
    assert found is not None
    newer = older.replaced(found)
    assert {(one.name, one.column) for one in newer.thresholds} == {(one.name, one.column) for one in gross}
    assert len(newer.thresholds) == len(gross)
    assert len(newer.gross) == len(gross) - len(found.thresholds)


def divided_hours(days: int, rng: np.random.Generator, *, spoiled: int = -1, labels: bool = True) -> list[StoredWindow]:
    """Hours with the values of three segments, one of which is often wrong; in one hour it may be grossly wrong."""
    stored = []
    for hour in range(24 * days):
        values = {Name("accuracy", None): 0.9 + rng.normal(0, 0.01)}
        for label, usual in (("shop=north", 0.95), ("shop=south", 0.70), ("shop (the rest)", 0.9)):
            score = 0.05 if label == "shop=south" and hour == spoiled else usual + rng.normal(0, 0.02)
            values |= {Name("segment_rows", label): 40.0, Name("segment_labels", label): 35.0}
            values |= {Name("segment_accuracy", label): score} if labels or hour < 12 else {}
        stored.append(StoredWindow(MONDAY + hour * HOUR, 120, 105, values))
    return stored


def test_each_segment_is_learned_with_the_accuracy_of_all_rows(
    manifest: Manifest, gross: tuple[TrafficThreshold, ...]
) -> None:
    divided = manifest.model_copy(update={"segments": ("shop",), "metadata": ("shop",)})
    windows = windows_of(divided_hours(9, np.random.default_rng(0), spoiled=50), divided)
    learned = learn(windows, HOUR, divided, false_alarm_days=100, zone="UTC", least_seconds=7 * DAY, only=gross)
    assert learned is not None
    found = {one.column: one for one in learned.thresholds if one.name == "segment_accuracy"}
    assert set(found) == {"shop=north", "shop=south", "shop (the rest)"}
    assert 0.5 < found["shop=south"].thresholds[0] < 0.68 < found["shop=north"].thresholds[0] < 0.93
    at = WindowTraffic(learned, datetime(2026, 12, 7, tzinfo=UTC), HOUR)
    assert at.limit("segment_accuracy", "shop=north", 0.95) == found["shop=north"].thresholds[0]
    assert at.knows("segment_accuracy", "shop=south")
    assert not at.knows("segment_accuracy", "shop=west")
    without_accuracy = tuple(one for one in gross if one.name != "accuracy")
    later = learn(
        windows, HOUR, divided, false_alarm_days=100, zone="UTC", least_seconds=7 * DAY, only=without_accuracy
    )
    assert later is None  # nothing else has values


def test_a_segment_with_little_history_is_not_learned(manifest: Manifest) -> None:
    divided = manifest.model_copy(update={"segments": ("shop",), "metadata": ("shop",)})
    windows = windows_of(divided_hours(9, np.random.default_rng(0), labels=False), divided)
    learned = learn(windows, HOUR, divided, false_alarm_days=100, zone="UTC", least_seconds=7 * DAY)
    assert learned is not None
    assert {one.name for one in learned.thresholds} == {"accuracy"}


def test_a_column_of_many_values_costs_no_array_each(manifest: Manifest) -> None:
    divided = manifest.model_copy(update={"segments": ("shop",), "metadata": ("shop",)})
    stored = [
        StoredWindow(
            MONDAY + hour * HOUR,
            100,
            100,
            {
                Name(name, f"shop={hour * 5 + place}"): value
                for place in range(10)
                for name, value in (("segment_rows", 50.0), ("segment_labels", 50.0), ("segment_accuracy", 0.9))
            },
        )
        for hour in range(400)
    ]
    windows = windows_of(stored, divided)
    assert windows.values == {}
    assert len(segment_histories(windows.segments, least=2, numbers=False)) == MAX_LEARNED


def test_stored_segments_are_judged_against_their_own_rows_of_the_reference(divided_artifact: Path) -> None:
    divided, reference = read_manifest(divided_artifact), read_reference(divided_artifact)
    scores = {"shop=north": 0.9, "shop=south": 0.3, "colour=red": 0.9, "colour=blue": 0.9}
    values = {Name("accuracy", None): 0.6}
    for label, score in scores.items():
        values |= {Name("segment_rows", label): 100.0, Name("segment_accuracy", label): score}
    windows = windows_of([StoredWindow(MONDAY, 200, 200, values)], divided, reference)
    (found,) = windows.segments
    assert [one.labels for one in found] == [100] * 4  # an older log: as many labels as rows
    expected = wrong_predictions(reference)[(reference["segment: shop"] == "south").to_numpy()]
    assert found[1].usual == pytest.approx(((len(expected)), 1 - expected.mean(), expected.std()))
    (judged,) = judge_windows(windows, HOUR, divided, reference)
    assert {one.column for one in judged.failures if one.measure == "segment"} == {"shop=south"}
