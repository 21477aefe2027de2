"""How old rows leave the log, on each kind of database."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, func, select, text

from api.prediction_log.database import Database
from api.prediction_log.expiry import RESERVE_PAGES, ExpiredRows, LogExpiry
from api.prediction_log.records import (
    LabelReceipt,
    LabelRecord,
    PredictionRecord,
    WindowRecord,
    WindowStatus,
    WindowValue,
)
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.tables import labels, predictions
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from tests.clocked import NOON, ClockedDatabase
from tests.logging_rows import as_they_are

HOUR = timedelta(hours=1)


def log(database: ClockedDatabase, time: datetime, *names: str, features: str = "{}") -> None:
    async def write() -> None:
        writer = LogWriter(database, 100_000, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(name, 0, "v1", features, "a", "{}") for name in names])
        writer.count_rejection("missing")
        await writer.close()

    database.time = time
    asyncio.run(write())


def label(database: ClockedDatabase, time: datetime, *names: str) -> LabelReceipt:
    async def write() -> LabelReceipt:
        writer = LogWriter(database, 100_000, respond=as_they_are)
        writer.start()
        receipt = await writer.log_labels([LabelRecord(name, "a") for name in names])
        await writer.close()
        return receipt

    database.time = time
    return asyncio.run(write())


def post_all(database: ClockedDatabase, until: datetime) -> list[WindowRecord]:
    """Close the windows of an hour until then, and post what is due."""
    database.time = until
    store = WindowStore(database)
    store.close_elapsed(HOUR)
    posted = []
    while (window := store.claim()) is not None:
        changed = {"status": WindowStatus.POSTED, "snapshot_id": "s", "project_id": "p", "report_file": "d/r.html"}
        store.finish(window, [WindowValue("rows", "", 1.0), WindowValue("data_drift", "x", 0.5)], changed)
        posted.append(window)
    return posted


def left(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(select(predictions.c.id)).scalars())


def test_old_rows_go_in_batches_with_their_labels_and_young_ones_stay(database: ClockedDatabase) -> None:
    log(database, NOON, "a", "b", "c")
    label(database, NOON, "a", "b")
    log(database, NOON + 3 * HOUR, "young")
    post_all(database, NOON + 4 * HOUR)
    expiry, before = LogExpiry(database), NOON + 2 * HOUR
    counted = expiry.count(before)
    assert (counted.predictions, counted.labels) == (3, 2)
    assert counted.bytes > 3 * 100
    found = [expiry.remove(before, 2), expiry.remove(before, 2), expiry.remove(before, 2)]
    assert [gone.predictions for gone in found] == [2, 1, 0]
    assert sum(gone.labels for gone in found) == 2
    assert left(database) == {"young"}
    assert expiry.count(before) == ExpiredRows()
    assert (expiry.remove_rejections(before, 10), expiry.remove_rejections(before, 10)) == (1, 0)


def test_a_row_that_a_window_has_yet_to_read_stays_however_old_it_is(database: ClockedDatabase) -> None:
    log(database, NOON, "waits")
    database.time = NOON + HOUR
    WindowStore(database).close_elapsed(HOUR)
    assert LogExpiry(database).remove(NOON + 100 * HOUR, 10) == ExpiredRows()
    log(database, NOON + 2 * HOUR, "in the open window")
    post_all(database, NOON + 2 * HOUR)
    assert LogExpiry(database).remove(NOON + 100 * HOUR, 10).predictions == 1
    assert left(database) == {"in the open window"}


def test_a_backlog_of_days_is_warned_of_once_and_again_when_it_has_doubled(
    database: ClockedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    log(database, NOON, "old")
    expiry = LogExpiry(database)
    found = [expiry.check_backlog(NOON + hours * HOUR).total_seconds() / 3600 for hours in (0, 20, 30, 40, 60)]
    assert found == [0, 20, 30, 40, 60]
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        "the oldest rows of the prediction log are 1 day, 6:00:00 older than they may be",
        "the oldest rows of the prediction log are 2 days, 12:00:00 older than they may be",
    ]
    post_all(database, NOON + HOUR)
    assert expiry.remove(NOON + 60 * HOUR, 10).predictions == 1
    assert expiry.check_backlog(NOON + 60 * HOUR) == timedelta(0)


def test_an_old_row_whose_label_a_window_has_yet_to_read_stays(database: ClockedDatabase) -> None:
    log(database, NOON, "late label")
    post_all(database, NOON + HOUR)
    label(database, NOON + 50 * HOUR, "late label")
    assert LogExpiry(database).remove(NOON + 10 * HOUR, 10) == ExpiredRows()
    post_all(database, NOON + 51 * HOUR)
    assert LogExpiry(database).remove(NOON + 10 * HOUR, 10) == ExpiredRows(1, 1)


def test_a_label_of_an_expired_prediction_is_reported_as_unknown_and_not_stored(database: ClockedDatabase) -> None:
    log(database, NOON, "old")
    log(database, NOON + 5 * HOUR, "new")
    post_all(database, NOON + 6 * HOUR)
    LogExpiry(database).remove(NOON + HOUR, 10)
    assert label(database, NOON + 6 * HOUR, "old", "new") == LabelReceipt(1, ("old",))
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(labels)).scalar_one() == 1


OLD_ROWS = 20_000


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_batch_of_postgresql_reads_its_own_rows_by_their_time_and_neither_all_old_ones_nor_the_table(
    database: ClockedDatabase,
) -> None:
    names = ", ".join(predictions.c.keys())
    copied = names.replace("id,", "'old' || n,", 1).replace("logged_at", "logged_at + n")
    copies = f"INSERT INTO predictions ({names}) SELECT {copied} FROM predictions, generate_series(1, {OLD_ROWS}) n"  # noqa: S608 - our own names
    log(database, NOON, "old")
    post_all(database, NOON + HOUR)
    with database.writing() as connection:
        connection.exec_driver_sql(copies)
        connection.exec_driver_sql("INSERT INTO labels SELECT id, 'a', logged_at, model_id FROM predictions")
        for table in ("predictions", "labels"):
            connection.exec_driver_sql(f"ANALYZE {table}")
    plans: list[dict[str, Any]] = []

    def explain(connection: Connection, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "DELETE FROM predictions" in statement:  # with what was set for this transaction
            cursor.execute("SAVEPOINT explained")
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", values)
            plans.extend(one["Plan"] for one in cursor.fetchone()[0])
            cursor.execute("ROLLBACK TO SAVEPOINT explained")

    event.listen(database.engine, "before_cursor_execute", explain)
    assert LogExpiry(database).remove(NOON + HOUR, 100) == ExpiredRows(100, 100)
    (plan,) = plans
    nodes = list(nodes_of(plan))
    assert not [one for one in nodes if "Sort" in one["Node Type"] or one["Node Type"] == "Seq Scan"], nodes
    read = [one["Actual Rows"] * one["Actual Loops"] for one in nodes if one.get("Index Name") == "predictions_by_time"]
    assert read == [100]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has a foreign key for that
def test_labels_that_an_erasure_of_an_older_version_left_behind_go_with_the_rows_of_their_age(
    database: ClockedDatabase,
) -> None:
    log(database, NOON, "erased", "stays")
    label(database, NOON, "erased", "stays")
    log(database, NOON + 3 * HOUR, "erased lately")
    label(database, NOON + 3 * HOUR, "erased lately")
    log(database, NOON + 3 * HOUR, "young")
    post_all(database, NOON + 4 * HOUR)
    with database.writing() as connection:
        connection.execute(delete(predictions).where(predictions.c.id.startswith("erased")))
    expiry = LogExpiry(database)
    assert [expiry.remove(NOON + HOUR, 1), expiry.remove(NOON + HOUR, 1)] == [ExpiredRows(1, 1), ExpiredRows(0, 1)]
    with database.reading() as connection:
        assert connection.execute(select(labels.c.prediction_id)).scalars().all() == ["erased lately"]


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes_of(below)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite lets one transaction write at a time
def test_a_row_whose_label_is_being_stored_is_left_for_the_next_time(database: ClockedDatabase) -> None:
    log(database, NOON, "being labelled", "old")
    post_all(database, NOON + HOUR)
    with database.writing() as connection:
        connection.execute(text("SELECT id FROM predictions WHERE id = 'being labelled' FOR KEY SHARE"))
        assert LogExpiry(database).remove(NOON + HOUR, 10).predictions == 1
    assert left(database) == {"being labelled"}


def test_snapshot_and_report_of_a_window_are_marked_as_removed_and_the_window_stays(database: ClockedDatabase) -> None:
    log(database, NOON, "a")
    post_all(database, NOON + HOUR)
    kept, store = RetainedWindows(database), WindowStore(database)
    (window,) = kept.with_snapshot()
    assert kept.with_report(NOON + HOUR) == []
    assert kept.with_report(NOON + HOUR + timedelta(seconds=1)) == [window]
    assert kept.starting_at([NOON, NOON + HOUR]) == {NOON: window}
    kept.mark_report_removed(window)
    assert kept.mark_snapshot_removed(window) == 2
    assert kept.mark_snapshot_removed(window) == 0
    (after,) = store.newest(1)
    assert (after.status, after.snapshot_id, after.report_file) == (WindowStatus.POSTED, None, None)
    assert (after.snapshot_removed_at, after.report_removed_at) == (NOON + HOUR, NOON + HOUR)
    assert (kept.with_snapshot(), kept.with_report(NOON + 9 * HOUR)) == ([], [])
    assert store.series(None, None, None, None, limit=9) == []


def test_an_sqlite_file_shrinks_when_its_rows_have_gone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    database = ClockedDatabase(f"sqlite:///{path}")
    database.migrate()
    log(database, NOON, *(f"p{number}" for number in range(10_000)), features="x" * 2000)
    post_all(database, NOON + HOUR)
    expiry = LogExpiry(database)
    while expiry.remove(NOON + HOUR, 2000).predictions:
        pass
    assert expiry.shrink(0) == 0
    freed = 0
    while (step := expiry.shrink(500)) > 0:
        freed += step
    assert freed > 15_000_000
    database.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    assert free == RESERVE_PAGES
    assert path.stat().st_size < 6_000_000


def test_predictions_are_logged_while_old_rows_are_removed(database: ClockedDatabase) -> None:
    log(database, NOON, *(f"old{number}" for number in range(3000)))
    post_all(database, NOON + HOUR)
    removed = []
    thread = threading.Thread(
        target=lambda: removed.extend(
            gone.predictions for gone in iter(lambda: LogExpiry(database).remove(NOON + HOUR, 100), ExpiredRows())
        )
    )
    thread.start()
    for number in range(20):
        log(database, NOON + 2 * HOUR, f"new{number}")
    thread.join()
    assert sum(removed) == 3000
    assert left(database) == {f"new{number}" for number in range(20)}
