"""The alarms that a log has made, and the windows that they are made of, on each kind of database."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert

import api.prediction_log.alarms as module
from api.prediction_log.alarms import AlarmAction, AlarmLog, record_statistics
from api.prediction_log.database import microseconds
from api.prediction_log.records import WindowStatus, WindowValue
from api.prediction_log.tables import windows
from tests.clocked import NOON, ClockedDatabase

HOUR = timedelta(hours=1)


@pytest.fixture
def log(database: ClockedDatabase) -> AlarmLog:
    return AlarmLog(database)


def post(database: ClockedDatabase, start: datetime, version: str = "v1", **values: float) -> None:
    row = {
        "start": microseconds(start),
        "end": microseconds(start + HOUR),
        "status": WindowStatus.POSTED,
        "rows": 100,
        "labelled_rows": 80,
        "failed_checks": [],
        "not_computed": [],
        "tries": 1,
        "model_version": version,
    }
    with database.writing() as connection:
        connection.execute(insert(windows).values(row))
        found = [WindowValue(name, "", value) for name, value in values.items()]
        record_statistics(connection, microseconds(start), version, found)


def test_alarms_are_taken_back_one_by_one_and_nothing_is_forgotten(log: AlarmLog) -> None:
    assert log.newest("v1") is None
    assert log.undo("v1") is None
    log.add("v1", AlarmAction.LEARNED, "one")
    log.add("v1", AlarmAction.CALIBRATED, "two")
    log.add("v2", AlarmAction.CALIBRATED, "other")
    held = []
    for _ in range(2):
        undone = log.undo("v1")
        assert undone is not None
        held.append(undone.content)
    assert held == ["one", None]
    assert log.undo("v1") is None
    newest = log.newest("v1")
    assert newest is not None
    assert newest.content is None
    assert [one.action.value for one in log.versions("v1")] == ["learned", "calibrated", "undone", "undone"]
    assert [one.content for one in log.versions("v2")] == ["other"]


def test_alarms_before_a_new_start_are_not_taken_back_to(log: AlarmLog) -> None:
    log.add("v1", AlarmAction.LEARNED, "one")
    log.add("v1", AlarmAction.RESTARTED, None)
    assert log.undo("v1") is None
    log.add("v1", AlarmAction.LEARNED, "two")
    undone = log.undo("v1")
    assert undone is not None
    assert undone.content is None


def test_measured_windows_are_read_by_version_and_time(database: ClockedDatabase, log: AlarmLog) -> None:
    for hour in range(4):
        post(database, NOON + hour * HOUR, "v2" if hour == 3 else "v1", rows=float(hour))
    assert [window.values for window in log.measured("v1")] == [{("rows", ""): float(hour)} for hour in range(3)]
    inside = log.measured("v1", NOON + HOUR, NOON + 2 * HOUR)
    assert [(window.start, window.end, window.rows, window.labelled_rows) for window in inside] == [
        (NOON + HOUR, NOON + 2 * HOUR, 100, 80)
    ]
    assert log.learned_span("v1", None) == (NOON, NOON + 3 * HOUR)
    assert log.learned_span("v1", NOON + HOUR) == (NOON + HOUR, NOON + 3 * HOUR)
    assert log.learned_span("v3", None) is None


def test_only_the_newest_windows_are_kept(
    database: ClockedDatabase, log: AlarmLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WINDOWS", 3)
    for hour in range(5):
        post(database, NOON + hour * HOUR, rows=float(hour))
    assert [window.values[("rows", "")] for window in log.measured("v1")] == [2.0, 3.0, 4.0]


def test_a_window_that_is_measured_again_counts_once(database: ClockedDatabase, log: AlarmLog) -> None:
    post(database, NOON, rows=1.0)
    with database.writing() as connection:
        record_statistics(connection, microseconds(NOON), "v1", [WindowValue("rows", "", 2.0)])
    assert [window.values for window in log.measured("v1")] == [{("rows", ""): 2.0}]
