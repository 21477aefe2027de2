"""A log of an earlier version, with all that it may hold, is migrated and goes on; on each kind of database."""

import asyncio
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, insert, inspect, text

from api.prediction_log.alarms import AlarmAction, AlarmLog, record_statistics
from api.prediction_log.database import MIGRATION_LOCK, MIGRATIONS, Database, microseconds, moment
from api.prediction_log.expiry import ExpiredRows, LogExpiry
from api.prediction_log.layouts import LayoutStore, RowLayout
from api.prediction_log.models import ServedVersion, ServedVersionStore
from api.prediction_log.reader import read_labelled, read_predictions, read_progress, read_rejections
from api.prediction_log.records import LabelRecord, PredictionRecord, WindowStatus, WindowValue
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.tables import metadata
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from tests.clocked import NOON, ClockedDatabase
from tests.logging_rows import as_they_are
from tests.postgres import MISSING, drop_database, fresh_database

HOUR = timedelta(hours=1)
LAST_OF_ONE_MODEL = "0007"
HELD = ("predictions", "labels", "rejections", "horizon", "log_identity", "windows", "window_values")
HELD += ("window_statistics", "alarm_versions", "lease", "model_roll")
ADDED = {"model_id", "muted_checks", "overrides", "reference_id", "content_by_reference", "layout", "layouts_from"}
"""Columns that later versions added."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClockedDatabase]:
    """A log of the version before there were several models, filled."""
    if request.param == "sqlite":
        database = old_log(f"sqlite:///{tmp_path}/log.db")
        yield database
        database.dispose()
        return
    server = request.getfixturevalue("postgres")
    if server is None:
        pytest.skip(MISSING)
    name = f"old_{uuid4().hex}"
    database = old_log(fresh_database(server, name))
    yield database
    database.dispose()
    drop_database(server, name)


def old_log(url: str) -> ClockedDatabase:
    database = ClockedDatabase(url)
    with database.writing() as connection:
        upgrade(connection, LAST_OF_ONE_MODEL)
        fill(connection)
    return database


def upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def fill(connection: Connection) -> None:
    """Two windows that are posted, one that is due, and a row in the open one; labels, alarms, and the rest."""
    hour, noon = HOUR // timedelta(microseconds=1), microseconds(NOON)
    made = {"sample_key": 7, "model_version": "v1", "features": '{"x":1}', "prediction": "a", "probabilities": "{}"}
    window = {
        "reason": None, "rows": 1, "labelled_rows": 1, "not_computed": [], "model_version": "v1", "project_id": "p",
        "retry_at": None, "duration_seconds": 1.5, "snapshot_bytes": 10, "alarms_version": 1, "faults": 0,
    }  # fmt: skip
    posted = {"status": "posted", "tries": 1, "failed_checks": [{"check": "data_drift", "column": "x"}]}
    due = {"status": "due", "tries": 0, "rows": None, "labelled_rows": None, "failed_checks": [], "finished_at": None}
    fresh = {"snapshot_id": None, "report_file": None, "snapshot_removed_at": None, "report_removed_at": None}
    rows: dict[str, list[dict[str, Any]]] = {
        "predictions": [{"id": f"p{n}", "logged_at": noon + n * hour, **made} for n in range(4)],
        "labels": [{"prediction_id": f"p{n}", "label": "a", "arrived_at": noon + n * hour} for n in range(2)],
        "rejections": [{"logged_at": noon, "reason": "missing", "requests": 3}],
        "windows": [
            *({**window, **fresh, **posted, "snapshot_id": f"s{n}", "report_file": f"d/{n}", "start": noon + n * hour,
               "end": noon + (n + 1) * hour, "finished_at": noon + (n + 1) * hour} for n in range(2)),
            {**window, **fresh, **due, "start": noon + 2 * hour, "end": noon + 3 * hour},
        ],
        "window_values": [
            {"start": noon + n * hour, "name": "data_drift", "column": column, "value": 0.5}
            for n in range(2)
            for column in ("x", "y")
        ],
        "alarm_versions": [
            {"made_at": noon, "model_version": "v1", "action": "learned", "content": "{}"},
            {"made_at": noon, "model_version": "v1", "action": "calibrated", "content": '{"a":1}'},
        ],
        "lease": [{"name": "snapshots", "holder": "h", "expires_at": noon}],
        "model_roll": [{"id": 1, "generation": 4, "model_version": "v1", "asked_at": noon}],
    }  # fmt: skip
    for name, content in rows.items():
        connection.execute(insert(Table(name, MetaData(), autoload_with=connection)), content)
    connection.execute(text("UPDATE horizon SET closed_until = :until"), {"until": noon + 3 * hour})
    statistics = Table("window_statistics", MetaData(), autoload_with=connection)
    connection.execute(insert(statistics).values(start=noon, model_version="v1", content=zlib.compress(b"[]")))


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of the tables that the earlier version had, without what says whose they are."""
    found = {}
    with database.reading() as connection:
        for name in HELD:
            rows = connection.execute(text(f'SELECT * FROM "{name}"')).mappings()  # noqa: S608 - our own names
            found[name] = sorted(
                ({key: value for key, value in row.items() if key not in ADDED} for row in rows), key=str
            )
    return found


def test_nothing_is_lost_and_all_of_it_is_the_first_models(database: ClockedDatabase) -> None:
    before = contents(database)
    assert all(before.values())
    database.migrate()
    assert contents(database) == before
    with database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        of_labels = [key["referred_table"] for key in inspect(connection).get_foreign_keys("labels")]
        if database.is_sqlite:
            assert (differences, of_labels) == ([], ["predictions"])
        else:  # see `labels`
            ((kind, key),) = differences
            assert (kind, key.parent.name, of_labels) == ("add_fk", "labels", [])
        for name in HELD:
            if "model_id" in {column["name"] for column in inspect(connection).get_columns(name)}:
                owners = connection.execute(text(f"SELECT DISTINCT model_id FROM {name}")).scalars().all()  # noqa: S608 - as above
                assert owners == [1], name
        if database.is_sqlite:
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]


def test_a_migrated_log_goes_on_where_it_stopped(database: ClockedDatabase) -> None:
    database.migrate()
    database.time = NOON + 3 * HOUR
    store, alarms = WindowStore(database), AlarmLog(database)
    due = store.claim()
    assert due is not None
    assert (due.start, due.model_id) == (NOON + 2 * HOUR, 1)
    assert read_predictions(database, due.start, due.end, "v1", 10).total == 1
    posted = {"status": WindowStatus.POSTED, "model_version": "v1", "snapshot_id": "s2", "project_id": "p"}
    assert store.finish(due, [WindowValue("data_drift", "x", 0.9)], posted)
    assert [value.value for _, _, value in store.series("data_drift", "x", None, None, limit=9)] == [0.5, 0.5, 0.9]
    assert [window.snapshot_id for window in RetainedWindows(database).with_snapshot()] == ["s0", "s1", "s2"]
    newest = alarms.newest("v1")
    assert newest is not None
    assert (newest.action, len(alarms.measured("v1"))) == (AlarmAction.CALIBRATED, 2)
    assert alarms.add("v1", AlarmAction.UNDONE, None).id == newest.id + 1
    assert ServedVersionStore(database).announce("v2") == ServedVersion(5, "v2")
    assert read_rejections(database, NOON, NOON + HOUR) == {"missing": 3}
    log_more(database)
    assert read_labelled(database, NOON + 4 * HOUR, NOON + 5 * HOUR, "v1", 10).total == 2
    assert store.close_elapsed(HOUR) == 1
    assert read_progress(database, HOUR).waiting == 1
    assert LogExpiry(database).remove(NOON + HOUR, 10) == ExpiredRows(1, 1)


def log_more(database: ClockedDatabase) -> None:
    """Log a row with an id as long as a key may be, and labels of it and of an old one."""

    async def write() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        name = "n" * 160
        await writer.log_responses([PredictionRecord(name, 0, "v1", "{}", "a", "{}")])
        await writer.log_labels([LabelRecord("p3", "b"), LabelRecord(name, "b")])
        await writer.close()

    database.time = NOON + 4 * HOUR
    asyncio.run(write())


def test_windows_of_a_migrated_log_still_own_what_was_measured_in_them(database: ClockedDatabase) -> None:
    database.migrate()
    with database.writing() as connection:
        record_statistics(connection, microseconds(NOON + HOUR), "v1", [])
        connection.execute(text("DELETE FROM windows WHERE start = :start"), {"start": microseconds(NOON + HOUR)})
        for name in ("window_values", "window_statistics"):
            left = connection.execute(text(f"SELECT DISTINCT start FROM {name}")).scalars().all()  # noqa: S608 - as above
            assert left == [microseconds(NOON)], name


def test_a_migration_that_is_cut_off_leaves_the_log_as_it_was(database: ClockedDatabase) -> None:
    before = contents(database)
    with pytest.raises(KeyboardInterrupt):
        migrate_and_die(database)
    assert contents(database) == before
    database.migrate()
    assert contents(database) == before


def test_for_a_day_rows_are_logged_as_the_processes_of_the_version_before_read_them(database: ClockedDatabase) -> None:
    """They may run on for a while, and write as before; an empty log has none such."""
    database.migrate()
    layout = RowLayout.of("v1", ["x"])
    with database.reading() as connection:
        allowed = moment(connection.execute(text("SELECT layouts_from FROM log_identity")).scalar_one())
    assert HOUR * 23 < allowed - datetime.now(UTC) <= HOUR * 24
    for database.time, expected in ((allowed - HOUR, None), (allowed, layout.id)):
        assert LayoutStore(database).id_of(layout) == expected
    asyncio.run(log_as_before(database, "late"))
    (row,) = read_predictions(database, allowed, allowed + HOUR, "v1", 10).rows
    assert (row.prediction_id, row.features) == ("late", {})


def migrate_and_die(database: Database) -> None:
    with database.writing() as connection:
        upgrade(connection, "head")
        raise KeyboardInterrupt


def test_processes_that_start_while_another_migrates_wait_for_it(database: ClockedDatabase) -> None:
    """They wait for longer than for any other lock, as the log may be large."""
    url = database.engine.url.render_as_string(hide_password=False)
    command_line = [sys.executable, "-c", MIGRATE, url]
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        waiting = [subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in waiting:
            assert process.stdout is not None
            assert process.stdout.readline() == "migrating\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
    for process in waiting:
        process.communicate(timeout=60)
    assert [process.returncode for process in waiting] == [0, 0]
    assert len(contents(database)["windows"]) == 3
    with database.reading() as connection:
        assert connection.execute(text("SELECT id, name FROM models")).all() == [(1, None)]


MIGRATE = """
import sys
from api.prediction_log.database import Database
database = Database(sys.argv[1], timeout_seconds=0.01)
print("migrating", flush=True)
database.migrate()
"""


LAST_WITH_KEY_OF_LABELS = "0011"
OLD_ROWS = 1_000_000
OLD_PREDICTIONS = f"""
INSERT INTO predictions SELECT 'old' || n, {microseconds(NOON)}, n, 'v1', '{{}}', 'a', '{{}}', 1
FROM generate_series(1, {OLD_ROWS}) n
"""  # noqa: S608 - our own numbers
OLD_LABELS = f"""
INSERT INTO labels SELECT 'old' || n, 'a', {microseconds(NOON)}, 1 FROM generate_series(1, {OLD_ROWS}, 100) n
"""  # noqa: S608 - as above


@pytest.fixture
def large_log(postgres: str | None) -> Iterator[Database]:
    """A log on PostgreSQL of the version before 0012, with a million rows."""
    if postgres is None:
        pytest.skip(MISSING)
    database = Database(fresh_database(postgres, name := f"large_{uuid4().hex}"))
    with database.writing() as connection:
        upgrade(connection, LAST_WITH_KEY_OF_LABELS)
        connection.execute(text(OLD_PREDICTIONS))
        connection.execute(text(OLD_LABELS))
    yield database
    database.dispose()
    drop_database(postgres, name)


def test_a_log_of_a_million_rows_is_migrated_while_predictions_come_in(large_log: Database) -> None:
    """A long read keeps the migration waiting; the one that waits is killed, and another one finishes."""
    url = large_log.engine.url.render_as_string(hide_password=False)
    program = [sys.executable, "-c", MIGRATE, url]
    with ThreadPoolExecutor() as pool:
        done, ids = threading.Event(), list[str]()
        logging_rows = pool.submit(asyncio.run, log_until(large_log, done, ids))
        try:
            with large_log.reading() as reader:
                reader.execute(text("SELECT 1 FROM predictions LIMIT 1"))
                killed = subprocess.Popen(program)
                await_true(lambda: waits_for_tables(large_log))
                killed.kill()
                killed.wait()
                waiting = subprocess.Popen(program)
                for _ in range(3):
                    await_true(lambda: waits_for_tables(large_log))
                    await_two_more(ids)
                assert waiting.poll() is None
            assert waiting.wait(60) == 0
        finally:
            done.set()
        slowest = logging_rows.result()
    with large_log.reading() as connection:
        assert inspect(connection).get_foreign_keys("labels") == []
        assert MigrationContext.configure(connection).get_current_revision() != LAST_WITH_KEY_OF_LABELS
        new = connection.execute(text("SELECT id FROM predictions WHERE id LIKE 'new%'")).scalars().all()
        assert (sorted(new), connection.execute(text("SELECT count(*) FROM labels")).scalar_one()) == (
            sorted(ids),
            OLD_ROWS // 100 + len(ids),
        )
    assert slowest < 1


def waits_for_tables(database: Database) -> bool:
    """Whether a statement waits for the tables of labels and predictions, and others wait behind it."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation IS NOT NULL"
    with database.reading() as connection:
        return bool(connection.execute(text(waits)).scalar_one())


def await_true(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def await_two_more(ids: list[str]) -> None:
    before = len(ids)
    await_true(lambda: len(ids) > before + 1)


async def log_as_before(database: Database, name: str) -> None:
    """Log a prediction as the version before 0014 does."""
    with database.writing() as connection:
        row = {"id": name, "logged_at": database.stamps(connection)[1]}
        connection.execute(text(LOG_AS_BEFORE), row)


LOG_AS_BEFORE = """
INSERT INTO predictions (id, sample_key, model_version, features, prediction, probabilities, model_id, logged_at)
VALUES (:id, 0, 'v1', '{}', 'a', '{}', 1, :logged_at)
"""


async def log_until(database: Database, done: threading.Event, ids: list[str]) -> float:
    """Log predictions and labels one after the other; return the seconds of the slowest call."""
    slowest = 0.0
    writer = LogWriter(database, 100, respond=as_they_are)
    writer.start()
    while not done.is_set():
        name = f"new{len(ids)}"
        for call in (
            log_as_before(database, name),
            writer.log_labels([LabelRecord(name, "b")]),
        ):
            began = monotonic()
            await call
            slowest = max(slowest, monotonic() - began)
        ids.append(name)
    await writer.close()
    return slowest


def test_a_log_with_the_newest_schema_is_opened_without_what_migrates(tmp_path: Path) -> None:
    code = f"""
import sys
from api.prediction_log.database import Database
database = Database("sqlite:///{tmp_path}/log.db")
database.migrate()
database.dispose()
print("alembic" in sys.modules, database.log_id())
"""
    starts = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in "12"]
    (first, log_id), (second, same) = (start.stdout.split() for start in starts)
    assert (first, second) == ("True", "False")
    assert log_id == same
