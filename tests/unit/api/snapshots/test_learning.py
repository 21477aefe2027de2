"""What is usual is learned from the log once there are windows enough, and can be thrown away."""

from datetime import timedelta
from pathlib import Path

import pytest

from api.prediction_log.alarms import AlarmAction, AlarmLog
from api.snapshots.learning import ServiceAlarms
from model.alarms.effects import effects_of
from model.alarms.learning import alarms_while_learning, gross_thresholds
from model.alarms.window_values import model_of
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest, read_reference
from tests.clocked import NOON, ClockedDatabase
from tests.measured import post_hours

DAY = timedelta(days=1)
WEEK = 7 * DAY


@pytest.fixture
def manifest(iris_artifact: Path) -> Manifest:
    """Iris, as if it had been trained with `--alarms learn`."""
    manifest = read_manifest(iris_artifact)
    model = model_of(manifest, read_reference(iris_artifact))
    gross = gross_thresholds(model, effects_of(manifest), attributions=True)
    return manifest.model_copy(update={"alarms": "learn", "traffic": alarms_while_learning(gross, 100, "UTC")})


def test_a_week_of_windows_ends_the_learning_of_what_they_have(database: ClockedDatabase, manifest: Manifest) -> None:
    log = AlarmLog(database)
    alarms = ServiceAlarms(log, WEEK)
    post_hours(database, manifest, NOON, 6 * 24, labels=False)
    assert alarms.learn(manifest) is None
    state = alarms.state(manifest)
    assert state.is_learning
    assert (state.version, state.learned) == (None, 6 * DAY)
    post_hours(database, manifest, NOON + 6 * DAY, 2 * 24, seed=1, labels=False)
    learned = alarms.learn(manifest)
    assert learned is not None
    assert learned.action is AlarmAction.LEARNED
    current, version = alarms.current(manifest)
    assert version == learned.id
    assert current.traffic is not None
    threshold = current.traffic.threshold("data_drift", "petal_length", 3_600)
    assert threshold is not None
    assert threshold.cycle == "hour"
    assert "accuracy" in {one.name for one in current.traffic.gross}  # labels have not come


def test_labels_that_come_late_are_learned_later(database: ClockedDatabase, manifest: Manifest) -> None:
    log = AlarmLog(database)
    post_hours(database, manifest, NOON, 8 * 24, labels=False)
    first = ServiceAlarms(log, WEEK).learn(manifest)
    post_hours(database, manifest, NOON + 8 * DAY, 8 * 24, seed=1)
    second = ServiceAlarms(log, WEEK).learn(manifest)
    assert first is not None
    assert second is not None
    current, _ = ServiceAlarms(log, WEEK).current(manifest)
    assert current.traffic is not None
    assert "accuracy" not in {one.name for one in current.traffic.gross}
    before, _ = (None, None) if first.content is None else (first.content, None)
    assert before is not None
    threshold = current.traffic.threshold("data_drift", "petal_length", 3_600)
    assert threshold is not None
    assert threshold.windows == 8 * 24  # what was learned first stays


def test_the_windows_before_a_new_start_do_not_count(database: ClockedDatabase, manifest: Manifest) -> None:
    log = AlarmLog(database)
    post_hours(database, manifest, NOON, 8 * 24)
    database.time = NOON + 8 * DAY
    log.add(manifest.version, AlarmAction.RESTARTED, None)
    assert ServiceAlarms(log, WEEK).learn(manifest) is None
    assert ServiceAlarms(log, WEEK).state(manifest).learned == timedelta(0)
    post_hours(database, manifest, NOON + 8 * DAY, 8 * 24, seed=1)
    assert ServiceAlarms(log, WEEK).learn(manifest) is not None


def test_windows_of_another_version_do_not_count(database: ClockedDatabase, manifest: Manifest) -> None:
    post_hours(database, manifest.model_copy(update={"version": "older"}), NOON, 8 * 24)
    assert ServiceAlarms(AlarmLog(database), WEEK).learn(manifest) is None


def test_a_model_of_random_rows_learns_nothing_by_itself(database: ClockedDatabase, iris_artifact: Path) -> None:
    manifest = read_manifest(iris_artifact)
    post_hours(database, manifest, NOON, 8 * 24)
    alarms = ServiceAlarms(AlarmLog(database), WEEK)
    assert alarms.learn(manifest) is None
    assert alarms.current(manifest) == (manifest, None)


def test_alarms_that_cannot_be_read_leave_those_of_the_artifact(database: ClockedDatabase, manifest: Manifest) -> None:
    log = AlarmLog(database)
    added = log.add(manifest.version, AlarmAction.CALIBRATED, '{"from": "a later program"}')
    assert ServiceAlarms(log, WEEK).current(manifest) == (manifest, added.id)
