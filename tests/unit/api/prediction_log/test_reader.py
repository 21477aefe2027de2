"""What is read of the snapshots' progress, on each kind of database."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import insert

from api.errors import LogUnavailable
from api.prediction_log.database import Database, moment
from api.prediction_log.reader import SnapshotProgress, read_health, read_largest, read_progress
from api.prediction_log.tables import changed_rows, window_statistics, window_values, windows
from api.snapshots.health import health_of

MINUTE = 60_000_000


class StoppedDatabase(Database):
    """Its time is an hour after the epoch."""

    def now(self, _connection: object) -> int:
        return 60 * MINUTE


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = StoppedDatabase(database_url)
    database.migrate()
    yield database
    database.dispose()


def add(database: Database, minute: int, status: str, **changed: float) -> None:
    row = {"start": (minute - 5) * MINUTE, "end": minute * MINUTE, "status": status, "tries": 0}
    with database.writing() as connection:
        connection.execute(insert(windows).values(**row, failed_checks=[], not_computed=[], **changed))


def test_before_the_first_window_nothing_waits_and_nothing_was_posted(database: Database) -> None:
    assert read_progress(database) == SnapshotProgress(0, timedelta(0), None, None)


def test_it_is_as_far_behind_as_the_oldest_window_that_waits(database: Database) -> None:
    add(database, 20, "skipped")
    add(database, 25, "failed", retry_at=61 * MINUTE)
    add(database, 30, "running")
    add(database, 35, "due")
    assert read_progress(database) == SnapshotProgress(3, timedelta(minutes=35), None, None)


def test_it_is_behind_where_windows_are_not_closed(database: Database) -> None:
    add(database, 20, "posted")
    behind = read_progress(database, timedelta(minutes=5)).behind
    assert behind == timedelta(minutes=35)  # the window after it should have ended at 25
    add(database, 60, "posted")
    assert read_progress(database, timedelta(minutes=5)).behind == timedelta(0)


def test_it_is_ahead_where_windows_are_closed_in_the_future(database: Database) -> None:
    add(database, 55, "posted")
    assert read_progress(database).ahead == timedelta(0)
    add(database, 85, "posted")
    assert read_progress(database).ahead == timedelta(minutes=25)


def test_a_window_that_was_given_up_waits_for_nothing(database: Database) -> None:
    add(database, 25, "failed")
    assert read_progress(database) == SnapshotProgress(0, timedelta(0), None, None)


def test_the_newest_posted_window_says_when_it_was_posted_and_how_long_it_took(database: Database) -> None:
    add(database, 20, "posted", finished_at=21 * MINUTE, duration_seconds=3.5)
    add(database, 25, "posted", finished_at=26 * MINUTE, duration_seconds=4.5)
    add(database, 30, "skipped", finished_at=31 * MINUTE)
    assert read_progress(database) == SnapshotProgress(0, timedelta(0), 26 * 60, 4.5)


def test_a_log_that_cannot_be_read_is_unavailable(database: Database) -> None:
    with database.writing() as connection:
        changed_rows.drop(connection)
        window_statistics.drop(connection)
        window_values.drop(connection)
        windows.drop(connection)
    with pytest.raises(LogUnavailable):
        read_progress(database)


def test_a_model_is_well_since_its_first_window_after_a_failed_one(database: Database) -> None:
    assert read_health(database) is None
    add(database, 10, "posted")
    fail(database, 15)
    add(database, 20, "posted")
    add(database, 25, "skipped")
    add(database, 30, "posted")
    run = read_health(database)
    assert run is not None
    assert (run.since, run.count, run.newest.failed_checks) == (moment(15 * MINUTE), 2, [])
    assert health_of(run).sentence == "All is well since 1 January 1970, 00:15 UTC: no check failed in 2 windows."
    fail(database, 35, column="temp")
    fail(database, 40, column="wind")
    run = read_health(database)
    assert run is not None
    assert (run.since, run.count) == (moment(30 * MINUTE), 2)
    assert health_of(run).sentence == (
        "Checks fail since 1 January 1970, 00:30 UTC, in 2 windows. Newest: data drift (wind), worse performance."
    )


def test_the_columns_that_moved_most_of_late_come_first(database: Database) -> None:
    for minute, values in ((10, {"old": 9.0}), (15, {"a": 1.0, "b": 2.0}), (20, {"a": 3.0, "c": 0.5})):
        add(database, minute, "posted")
        with database.writing() as connection:
            for column, value in values.items():
                key = {"start": (minute - 5) * MINUTE, "name": "data_drift_ratio", "column": column}
                connection.execute(insert(window_values).values(**key, value=value))
    assert read_largest(database, ["data_drift_ratio"], windows_back=2, limit=2) == ["a", "b"]
    assert read_largest(database, ["data_drift_ratio"], windows_back=50, limit=9) == ["old", "a", "b", "c"]
    assert read_largest(database, ["missing_share"], windows_back=50, limit=9) == []


def fail(database: Database, minute: int, column: str = "x") -> None:
    """Add a posted window in which a column drifted and the performance fell."""
    row = {"start": (minute - 5) * MINUTE, "end": minute * MINUTE, "status": "posted", "tries": 0, "not_computed": []}
    checks = [{"check": "data_drift", "column": column}, {"check": "performance", "column": "accuracy"}]
    with database.writing() as connection:
        connection.execute(insert(windows).values(**row, failed_checks=checks))
