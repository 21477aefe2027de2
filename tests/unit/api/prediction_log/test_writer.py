import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from api.errors import IdInUse, LogOverloaded, LogUnavailable
from api.prediction_log import sqlite
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.inserts import same_row
from api.prediction_log.reader import read_labelled, read_predictions, read_rejections
from api.prediction_log.records import LabelRecord, PredictionRecord
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.tables import metadata
from api.prediction_log.writer import Gathering, LogWriter
from tests.logging_rows import as_they_are

ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, timeout_seconds=0.2)
    database.migrate()
    yield database
    database.dispose()


def record(name: str, version: str = "v1", sample_key: int = 0) -> PredictionRecord:
    return PredictionRecord(name, sample_key, version, '{"x":1.5}', "a", '{"a":1.0}')


def written(database: Database, *records: PredictionRecord, labels: tuple[LabelRecord, ...] = ()) -> None:
    async def write() -> None:
        writer = LogWriter(database, 1_000_000, respond=as_they_are)
        writer.start()
        if records:
            await writer.log_responses(records)
        if labels:
            await writer.log_labels(labels)
        await writer.close()

    asyncio.run(write())


def test_a_moment_survives_the_log_to_the_microsecond() -> None:
    time = datetime(2026, 11, 23, 4, 45, 1, 999_999, tzinfo=UTC)
    assert moment(microseconds(time)) == time


def test_migrating_twice_is_harmless(database: Database) -> None:
    database.migrate()


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    with database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    # only SQLite has the foreign key of the labels, see `labels`
    found = [(kind, key.parent.name, key.referred_table.name) for kind, key in differences]
    assert found == ([] if database.is_sqlite else [("add_fk", "labels", "predictions")])


def test_of_a_year_of_windows_only_those_that_still_have_something_are_looked_at(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'log.db'}")
    database.migrate()
    plans: list[str] = []
    with database.reading() as connection:

        def explain(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith("SELECT") and "FROM windows" in statement:
                plans.append(str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()))

        event.listen(database.engine, "before_cursor_execute", explain)
        RetainedWindows(database).with_snapshot()
        RetainedWindows(database).with_report(datetime.now(UTC))
    database.dispose()
    assert ["windows_with_snapshot" in plans[0], "windows_with_report" in plans[1]] == [True, True], plans


def test_calls_that_wait_together_share_a_commit(database: Database) -> None:
    commits: list[int] = []

    async def write() -> None:
        writer = LogWriter(database, 1000, lambda rows, _seconds: commits.append(rows), respond=as_they_are)
        pending = [asyncio.create_task(writer.log_responses([record(f"p{n}")])) for n in range(50)]
        await asyncio.sleep(0)
        writer.start()
        await asyncio.gather(*pending)
        await writer.close()

    asyncio.run(write())
    assert commits == [50]


SLOW_COMMITS = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.08); RETURN NULL; END';
CREATE TRIGGER slowly AFTER INSERT ON predictions EXECUTE FUNCTION slowly()
"""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_callers_that_come_back_soon_share_the_next_commit(database: Database) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql(SLOW_COMMITS)
    commits: list[int] = []

    async def call(caller: int, writer: LogWriter) -> None:
        for n in range(10):
            await writer.log_responses([record(f"{caller}-{n}")])
            await asyncio.sleep(caller / 1000)  # they come back one after the other, as over a network

    async def write() -> None:
        writer = LogWriter(database, 1000, lambda rows, _seconds: commits.append(rows), respond=as_they_are)
        calls = [asyncio.create_task(call(caller, writer)) for caller in range(8)]
        await asyncio.sleep(0)
        writer.start()
        await asyncio.gather(*calls)
        await writer.close()

    asyncio.run(write())
    assert sum(commits) == 80
    assert len(commits) <= 14, "without waiting, every second commit has the first caller alone: 19"


def test_a_commit_waits_for_those_just_answered_and_no_longer_than_half_a_commit() -> None:
    gathering = Gathering()
    assert gathering.wanted(0.0) == (1, 0.0)
    gathering.answer(calls=4, waiting=3, seconds=0.01, now=1.0)
    calls, seconds = gathering.wanted(1.001)
    assert (calls, round(seconds, 6)) == (7, 0.004)
    assert gathering.wanted(1.005) == (1, 0.0)
    gathering.answer(calls=4, waiting=3, seconds=5.0, now=2.0)
    assert gathering.wanted(2.0) == (7, pytest.approx(0.02)), "a disk that hangs makes nobody wait long"
    gathering.answer(calls=1, waiting=0, seconds=0.01, now=3.0)
    assert gathering.wanted(3.0)[0] == 1, "a lone caller waits for nobody"


def test_closing_commits_what_was_accepted_and_refuses_more(database: Database) -> None:
    async def write() -> None:
        writer = LogWriter(database, 1000, respond=as_they_are)
        accepted = asyncio.create_task(writer.log_responses([record("accepted")]))
        await asyncio.sleep(0)
        writer.start()
        await writer.close()
        await accepted
        with pytest.raises(LogUnavailable):
            await writer.log_responses([record("late")])

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 1


def test_a_full_queue_refuses_at_once(database: Database) -> None:
    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        first = asyncio.create_task(writer.log_responses([record(f"p{n}") for n in range(8)]))
        await asyncio.sleep(0)
        with pytest.raises(LogOverloaded):
            await writer.log_responses([record(f"q{n}") for n in range(8)])
        writer.start()
        await first
        await writer.close()

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 8


def test_a_batch_larger_than_the_queue_is_taken_when_nothing_waits(database: Database) -> None:
    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        await writer.log_responses([record(f"p{n}") for n in range(50)])
        await writer.close()

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 50


def test_a_locked_sqlite_is_an_error_and_the_writer_recovers(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/log.db", timeout_seconds=0.2)
    database.migrate()

    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="locked"):
            await writer.log_responses([record("refused")])
        other.execute("ROLLBACK")
        other.close()
        await writer.log_responses([record("accepted")])
        await writer.close()

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 1
    database.dispose()


def test_of_an_entry_that_fails_none_of_its_rows_is_logged(database: Database) -> None:
    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        with pytest.raises(LogUnavailable):
            await writer.log_responses([record("same"), record("same")])
        await writer.close()

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 0


def test_rows_of_other_model_versions_are_counted_not_read(database: Database) -> None:
    written(database, record("old", "v1"), record("new", "v2"))
    rows = read_predictions(database, *ALWAYS, "v2", 100)
    assert (rows.total, len(rows.rows), rows.other_versions) == (1, 1, 1)


def test_a_window_over_the_cap_is_sampled_and_says_so(database: Database) -> None:
    written(database, *(record(f"p{n}", sample_key=n * 2**31 // 1000) for n in range(1000)))
    rows = read_predictions(database, *ALWAYS, "v1", 100)
    assert rows.total == 1000
    assert len(rows.rows) == 100
    assert rows.fraction == pytest.approx(0.1)


def test_labels_are_read_with_their_prediction_by_arrival(database: Database) -> None:
    written(database, record("p1"), record("p2"), labels=(LabelRecord("p1", "b"),))
    rows = read_labelled(database, *ALWAYS, "v1", 100)
    assert rows.total == 1
    assert (rows.rows[0].features, rows.rows[0].prediction, rows.rows[0].label) == ({"x": 1.5}, "a", "b")
    assert read_labelled(database, ALWAYS[0], ALWAYS[0] + timedelta(days=1), "v1", 100).total == 0


def test_writers_in_several_threads_lose_nothing(database: Database) -> None:
    threads = [
        threading.Thread(target=written, args=(database, *(record(f"t{t}-{n}") for n in range(20)))) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_predictions(database, *ALWAYS, "v1", 1000).total == 80


def test_refused_requests_are_counted_in_the_window_in_which_they_came(database: Database) -> None:
    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        for reason in ("missing", "missing", "json_invalid"):
            writer.count_rejection(reason)
        await writer.close()

    asyncio.run(write())
    assert read_rejections(database, *ALWAYS) == {"missing": 2, "json_invalid": 1}
    assert read_rejections(database, ALWAYS[0], ALWAYS[0] + timedelta(days=1)) == {}


def test_refused_requests_are_written_without_any_other_row(database: Database) -> None:
    """Also while more of them come all the time."""

    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        deadline = monotonic() + 10
        while not read_rejections(database, *ALWAYS) and monotonic() < deadline:
            writer.count_rejection("missing")
            await asyncio.sleep(0.02)
        assert read_rejections(database, *ALWAYS)["missing"] > 1
        await writer.close()

    asyncio.run(write())


def test_a_file_that_was_deleted_takes_no_more_rows_until_it_is_put_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()

    async def write() -> None:
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        await writer.log_responses([record("before")])
        (tmp_path / "log.db").rename(tmp_path / "elsewhere.db")
        with pytest.raises(LogUnavailable, match="deleted or replaced"):
            await writer.log_responses([record("lost")])
        (tmp_path / "elsewhere.db").rename(tmp_path / "log.db")
        await writer.log_responses([record("after")])
        await writer.close()

    asyncio.run(write())
    assert read_predictions(database, *ALWAYS, "v1", 100).total == 2
    database.dispose()


def test_a_window_is_read_from_the_index_and_sampled_in_the_database(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    written(database, *(record(f"p{n}", sample_key=n * 2**31 // 1000) for n in range(1000)))
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def keep(_c: object, _cursor: object, statement: str, values: tuple[object, ...], *_rest: object) -> None:
        if "FROM predictions" in statement:
            asked.append((statement, values))

    read_predictions(database, *ALWAYS, "v1", 100)
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        for statement, values in asked:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            used = "USING INDEX predictions_by_time (model_id=? AND logged_at>? AND logged_at<?)"
            assert any(used in step for step in plan), plan
        statement, values = asked[-1]
        assert len(connection.execute(statement, values).fetchall()) == 100
    database.dispose()


def test_a_program_that_reads_for_long_is_told_of_and_leaves_no_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "MAX_JOURNAL_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "LONG_READ_BYTES", 4_000_000)
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    journal = tmp_path / "log.db-wal"

    def log_rows(rows: int) -> None:
        async def write() -> None:
            writer = LogWriter(database, 1000, respond=as_they_are)
            writer.start()
            for _ in range(rows):
                await writer.log_responses([PredictionRecord(str(uuid4()), 0, "v1", "x" * 50_000, "a", "{}")])
            await writer.close()

        asyncio.run(write())
        database.warn_of_long_reads()

    log_rows(100)
    assert caplog.messages == []
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM predictions").fetchall()
        for _ in range(3):
            log_rows(100)
        assert journal.stat().st_size > 12_000_000
    warned = [message for message in caplog.messages if "in one transaction for long" in message]
    assert len(warned) == 2  # and once more when it had doubled
    assert "end it, and read a copy instead" in warned[0]
    log_rows(100)
    assert journal.stat().st_size < 6_000_000  # what one turn of it needs
    database.dispose()


def of_row(name: str, number: float, version: str = "v1") -> PredictionRecord:
    return PredictionRecord(name, 0, version, f'{{"x":{number},"y":null}}', "a", '{"a":1.0}')


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"x":1,"y":"a"}', '{"y":"a","x":1.0}', True),
        ('{"x":1}', '{"x":1,"y":null}', True),
        ('{"x":0.0}', '{"x":-0.0}', True),
        ('{"x":1}', '{"x":true}', False),
        ('{"x":1}', '{"x":"1"}', False),
        ('{"x":9007199254740993}', '{"x":9007199254740992}', False),
        ('{"x":"é"}', '{"x":"\\u00e9"}', True),
        ('{"x":1}', '{"y":1}', False),
    ],
)
def test_rows_are_the_same_if_they_mean_the_same(one: str, other: str, same: bool) -> None:
    records = [PredictionRecord("p", 0, "v1", features, "a", "{}") for features in (one, other)]
    assert same_row(records[0], records[1]) is same


CALLERS, IDS = 8, 40


def test_callers_that_race_with_the_same_ids_get_what_was_logged(database: Database, database_url: str) -> None:
    """Each caller has a writer of its own, as another process or host would; each sends every id, in another order."""
    outcomes: list[tuple[str, str]] = []
    conflicts: list[IdInUse] = []
    start = threading.Barrier(CALLERS)

    def call(caller: int) -> None:
        async def send() -> None:
            own = Database(database_url, timeout_seconds=20)
            writer = LogWriter(own, 1_000_000, respond=named, timeout_seconds=60)
            writer.start()
            start.wait()
            order = Random(caller).sample(range(IDS), IDS)
            for first in range(0, IDS, 4):
                records = [
                    of_row(f"p{n}", n if caller % 2 else float(n), f"v{caller}") for n in order[first : first + 4]
                ]
                found = await writer.log_own(records, same_row)
                versions = [one.model_version if isinstance(one, PredictionRecord) else one.decode() for one in found]
                outcomes.extend(zip((record.prediction_id for record in records), versions, strict=True))
                try:
                    await writer.log_own([of_row(f"other {caller} {first}", 1), of_row("p0", -1)], same_row)
                except IdInUse as error:
                    conflicts.append(error)
            await writer.close()
            own.dispose()

        asyncio.run(send())

    written(database, of_row("p0", 0, "v0"))
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id, model_version FROM predictions").all()
    assert len(rows) == IDS
    assert len(outcomes) == CALLERS * IDS
    assert set(outcomes) == {(key, version) for key, version in rows}, "each caller was told what the log holds"
    assert len(conflicts) == CALLERS * IDS // 4
    assert "'p0'" in str(conflicts[0])


def named(records: Sequence[PredictionRecord]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
    return records, [record.model_version.encode() for record in records]


def test_a_request_in_conflict_harms_no_other_of_its_commit(database: Database) -> None:
    async def write() -> list[Any]:
        writer = LogWriter(database, 1000, lambda rows, _seconds: commits.append(rows), respond=named)
        groups = [[of_row("a", 1)], [of_row("b", 2), of_row("a", 9)], [of_row("b", 3)], [of_row("a", 1)]]
        pending = [asyncio.create_task(writer.log_own(group, same_row)) for group in groups]
        pending.append(asyncio.create_task(writer.log_responses([of_row("c", 4)])))
        await asyncio.sleep(0)
        writer.start()
        found = await asyncio.gather(*pending, return_exceptions=True)
        await writer.close()
        return found

    commits: list[int] = []
    first, conflict, alone, again, generated = asyncio.run(write())
    assert (first, alone, generated) == ([b"v1"], [b"v1"], [b"v1"])
    assert isinstance(conflict, IdInUse)
    assert [one.prediction_id for one in again] == ["a"]
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id, features FROM predictions ORDER BY id").all()
    assert [(key, features[:6]) for key, features in rows] == [("a", '{"x":1'), ("b", '{"x":3'), ("c", '{"x":4')]
    assert commits == [3]
