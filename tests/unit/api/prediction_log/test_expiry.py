"""How old rows leave the log, on each kind of database."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

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
