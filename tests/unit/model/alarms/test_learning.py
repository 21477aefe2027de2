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
from model.alarms.window_checks import check_windows
from model.alarms.window_values import Name, Windows, model_of
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import TrafficThreshold, WindowTraffic

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
