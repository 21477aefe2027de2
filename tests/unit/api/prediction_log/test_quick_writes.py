"""Small groups on SQLite, which the loop's own thread writes."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from api.prediction_log import writer as writer_module
from api.prediction_log.database import Database
from api.prediction_log.records import PredictionRecord
from api.prediction_log.writer import QUICK_GROUPS, QUICK_ROWS, LogWriter
from tests.logging_rows import as_they_are

PAGE_BYTES = 4096
AUTOMATIC_CHECKPOINT_PAGES = 1000
"""The default of SQLite."""
THE_THREAD = "log-writer"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'log.db'}")
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every group is quick, however busy the machine is."""
    monkeypatch.setattr(writer_module, "QUICK_SECONDS", 60.0)


class Model:
    """Answers rows at once, or after a while, and remembers on which thread."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.threads: list[str] = []
        self.asked_by_thread = threading.Event()

    def respond(self, records: Sequence[Any]) -> Any:
        self.threads.append(threading.current_thread().name)
        if self.threads[-1] == THE_THREAD:
            self.asked_by_thread.set()
        time.sleep(self.seconds)
        return as_they_are(records)


async def write(writer: LogWriter, model: Model, groups: int, rows: int = 1) -> None:
    for _ in range(groups):
        records = [
            PredictionRecord(f"row {next(NUMBERS)}", 0, "v1", '{"x":1.5}', "a", '{"a":1.0}') for _ in range(rows)
        ]
        assert await writer.log_responses(records, model.respond) == [b""] * rows


NUMBERS = count()


def logged(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one())


@pytest.mark.usefixtures("quick")
def test_a_lone_row_needs_no_other_thread_once_its_model_was_quick(log: Database) -> None:
    model = Model()

    async def run() -> None:
        writer = LogWriter(log, 1000)
        writer.start()
        await write(writer, model, 2 * QUICK_GROUPS + 3)
        await writer.close()

    asyncio.run(run())
    by_thread = [place for place, name in enumerate(model.threads) if name == THE_THREAD]
    assert by_thread == [0, QUICK_GROUPS + 1, 2 * QUICK_GROUPS + 2]
    assert logged(log) == 2 * QUICK_GROUPS + 3


@pytest.mark.usefixtures("quick")
def test_rows_that_arrive_together_are_one_group_on_either_thread(log: Database) -> None:
    model, groups = Model(), list[int]()

    async def run() -> None:
        writer = LogWriter(log, 1000, lambda rows, _seconds: groups.append(rows))
        writer.start()
        await write(writer, model, 1)
        await asyncio.gather(*(write(writer, model, 1) for _ in range(QUICK_ROWS)))
        await asyncio.gather(*(write(writer, model, 1) for _ in range(QUICK_ROWS + 1)))
        await writer.close()

    asyncio.run(run())
    assert groups == [1, QUICK_ROWS, QUICK_ROWS + 1]
    assert [name == THE_THREAD for name in model.threads] == [True, False, True]


def test_a_slow_model_is_never_asked_on_the_thread_that_serves_requests(log: Database) -> None:
    model = Model(seconds=2 * writer_module.QUICK_SECONDS)

    async def run() -> None:
        writer = LogWriter(log, 1000)
        writer.start()
        await write(writer, model, 5)
        await writer.close()

    asyncio.run(run())
    assert set(model.threads) == {THE_THREAD}


@pytest.mark.usefixtures("quick")
def test_while_another_program_writes_the_loop_serves_on_and_nothing_is_lost(log: Database, tmp_path: Path) -> None:
    model = Model()

    async def run() -> None:
        writer = LogWriter(log, 1000)
        writer.start()
        await write(writer, model, 2)
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            model.asked_by_thread.clear()
            waiting = asyncio.create_task(write(writer, model, 1))
            await asyncio.to_thread(model.asked_by_thread.wait)  # a loop that waits for the lock would never get here
            assert not waiting.done()
            other.execute("ROLLBACK")
        await waiting
        await writer.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert logged(log) == 3


@pytest.mark.usefixtures("quick")
def test_lone_rows_do_not_make_the_write_ahead_log_grow_without_end(log: Database, tmp_path: Path) -> None:
    async def run() -> None:
        writer = LogWriter(log, 1000)
        writer.start()
        await write(writer, Model(), 2000)
        await writer.close()

    asyncio.run(run())
    between_checks = QUICK_GROUPS * 8 * PAGE_BYTES  # of one row: the table and its indexes
    assert (tmp_path / "log.db-wal").stat().st_size < AUTOMATIC_CHECKPOINT_PAGES * PAGE_BYTES + between_checks


@pytest.mark.usefixtures("quick")
def test_closing_writes_what_was_left_to_the_loop(log: Database) -> None:
    model = Model()

    async def run() -> None:
        writer = LogWriter(log, 1000)
        writer.start()
        await write(writer, model, 2)
        waiting = asyncio.create_task(write(writer, model, 1))
        await asyncio.sleep(0)  # it is submitted now, and its turn comes after ours
        await writer.close()
        await waiting

    asyncio.run(run())
    assert logged(log) == 3
