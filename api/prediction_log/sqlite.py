"""The file of a SQLite log, and the connections to it."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, event

from api.errors import LogUnavailable

logger = logging.getLogger(__name__)

MAX_JOURNAL_BYTES = 64 * 1024 * 1024
"""A larger write-ahead log of SQLite is cut to this once nobody reads an old state of the file any more."""
LONG_READ_BYTES = 4 * MAX_JOURNAL_BYTES
"""It only grows so far where a program reads for long; its end costs one commit about 3 ms for each MB."""
MIN_FREE_BYTES = 64 * 1024 * 1024
"""A request of 10,000 rows of 30 features is 12 MB of JSON, which goes into the write-ahead log, then into the file."""


class SqliteFile:
    """The file of a SQLite database, by its inode: rows that go into a deleted file that is still open are lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._journal = path.with_name(f"{path.name}-wal")
        self._warned_at_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def refuse_if_lost(self) -> None:
        """Raise LogUnavailable where the path no longer leads to the file that was opened first."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            raise LogUnavailable(
                f"the prediction log's file {self._path} was deleted or replaced while it was open; "
                "put it back where it was, or restart the API to begin with what is there now"
            )

    def check_room(self) -> None:
        """Raise LogUnavailable where the disk has less than MIN_FREE_BYTES left."""
        free = shutil.disk_usage(self._path.parent).free
        if free < MIN_FREE_BYTES:
            raise LogUnavailable(
                f"the disk of the prediction log is full: {free:,} bytes are left in {self._path.parent}, and a large "
                f"request may need {MIN_FREE_BYTES:,}; make room, or keep the log for a shorter time"
            )

    def warn_of_long_reads(self) -> None:
        """Log a warning about a large write-ahead log, and again whenever it has doubled."""
        try:
            size = self._journal.stat().st_size
        except OSError:
            return
        if size < LONG_READ_BYTES:
            self._warned_at_bytes = 0
        elif size >= 2 * self._warned_at_bytes:
            self._warned_at_bytes = size
            logger.warning(
                "%s has %d MB: a program has been reading the prediction log in one transaction for long. The file "
                "grows until that ends; end it, and read a copy instead (scripts.backup or scripts.export)",
                self._journal,
                size // 1_000_000,
            )


class SqliteDriver:
    """A connection to SQLite that stays open, as to take one from the pool takes longer than an empty transaction.

    One thread at a time has it. It is opened when it is first asked for.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = Lock()
        self._pooled: PoolProxiedConnection | None = None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; a transaction that is not committed then is rolled back."""
        with self._turn:
            connection = self._opened()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.rollback()

    def close(self) -> None:
        """Close the connection; the next transaction opens another one."""
        with self._turn:
            if self._pooled is not None:
                self._pooled.close()
            self._pooled = None

    def _opened(self) -> sqlite3.Connection:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
        connection = self._pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - as the engine is SQLite's
        return connection


def prepare_sqlite(engine: Engine) -> None:
    """Set what each connection of the engine needs, and let its transactions say how they begin."""

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's "begin" event below says when a transaction begins
        # auto_vacuum only works on a file that is still empty, and the journal mode is written into the file
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA journal_size_limit={MAX_JOURNAL_BYTES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("vigie_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
