"""The log's database: the engine, its transactions, its clock and its migrations."""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event, make_url, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from api.errors import LogUnavailable
from api.prediction_log.clock import SteadyClock
from api.prediction_log.tables import log_identity

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
STAMP_LOCK = 7_146_001
MIGRATION_LOCK = 7_146_002
MIGRATION_SECONDS = 600
"""How long a process waits for another one that migrates a SQLite file: an index of 100 million rows takes minutes."""
CLOSED_UNTIL = "SELECT id, closed_until FROM horizon"
"""As text: every commit runs it, and SQLAlchemy would take longer to compile it than SQLite to run it."""
_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_BEGIN_POSTGRESQL = (
    f"BEGIN; SELECT pg_advisory_xact_lock_shared({STAMP_LOCK}); "  # noqa: S608 - our own names
    f"SELECT {_CLOCK}, id, closed_until FROM horizon RIGHT JOIN (SELECT) one ON true"
)
"""Each statement sees what was committed before it began: the clock and the horizon are read under the lock."""
MAX_JOURNAL_BYTES = 64 * 1024 * 1024
"""A larger write-ahead log of SQLite is cut to this once nobody reads an old state of the file any more."""
LONG_READ_BYTES = 4 * MAX_JOURNAL_BYTES
"""It only grows so far where a program reads for long; its end costs one commit about 3 ms for each MB."""
MIN_FREE_BYTES = 64 * 1024 * 1024
"""A request of 10,000 rows of 30 features is 12 MB of JSON, which goes into the write-ahead log, then into the file."""


@dataclass(frozen=True, slots=True)
class PostgresWrite:
    """A write transaction on psycopg's own connection, with what it read under the lock for stamps.

    ``clock`` is the database's, in microseconds since the epoch; ``closed_until`` has the id and horizon of each model.
    """

    driver: Any
    clock: int
    closed_until: Sequence[tuple[int, int]]


class Database:
    """The log's database, SQLite or PostgreSQL by URL.

    A write transaction on SQLite begins with BEGIN IMMEDIATE: one that first reads and then writes would fail with
    "database is locked" whatever the busy time-out is. ``timeout_seconds`` is how long SQLite waits for a lock, and
    PostgreSQL for a connection.
    """

    def __init__(self, url: str, timeout_seconds: float = 5.0, clock: SteadyClock | None = None) -> None:
        self._clock = clock or SteadyClock()
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._file: SqliteFile | None = None
        self._log_id: str | None = None
        if self.is_sqlite:
            if parsed.database and parsed.database != ":memory:":
                self._file = SqliteFile(Path(parsed.database))
            self.engine = create_engine(parsed, connect_args={"timeout": timeout_seconds})
            _prepare_sqlite(self.engine)
        else:
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = create_engine(
                parsed, pool_pre_ping=True, connect_args={"connect_timeout": max(2, ceil(timeout_seconds))}
            )
        self._write_engine = self.engine.execution_options(vigie_write=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction; errors of the database are raised as LogUnavailable."""
        with _translated(self.engine), self.engine.connect() as connection:
            self._refuse_lost_file()
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction, committed at the end; errors of the database are raised as LogUnavailable."""
        with _translated(self.engine), self._write_engine.begin() as connection:
            self._refuse_lost_file()
            yield connection

    @contextmanager
    def driving(self) -> Iterator[sqlite3.Connection | PostgresWrite]:
        """One write transaction on the driver's own connection, without SQLAlchemy's work per statement; errors as above.

        For the one transaction that every request waits for: on SQLite it costs a ninth of `writing`, on PostgreSQL
        half as many round trips.
        """
        with _translated(self.engine), closing(self.engine.raw_connection()) as pooled:
            if not self.is_sqlite:
                with _driving_postgresql(pooled) as write:
                    yield write
                return
            self._refuse_lost_file()
            connection = pooled.driver_connection
            assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - as the database is SQLite
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # one that is not reached is rolled back where the pool takes it back

    def stamps(self, connection: Connection | sqlite3.Connection | PostgresWrite) -> "Stamps":
        """Return the time to log rows of each model under.

        To be called inside the write transaction that logs the rows. A stamp is never inside a closed window of its
        model: on SQLite the write lock is held already, on PostgreSQL a shared advisory lock makes `closing` wait for
        us, and a clock that went back is lifted to the end of the model's last closed window.
        """
        if isinstance(connection, sqlite3.Connection):
            return Stamps(self.now(connection), look_up=partial(_closed_until, connection))
        if isinstance(connection, PostgresWrite):
            return Stamps(self.now(connection), connection.closed_until)
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": STAMP_LOCK})
        now = self.now(connection)  # only once the lock is held
        return Stamps(now, connection.exec_driver_sql(CLOSED_UNTIL).all())

    def closing(self, connection: Connection) -> int:
        """Wait until every row stamped so far is committed, and return the time in microseconds since the epoch.

        To be called inside the write transaction that closes windows.
        """
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": STAMP_LOCK})
        return self.now(connection)

    def now(self, connection: Connection | sqlite3.Connection | PostgresWrite) -> int:
        """Return the time in microseconds since the epoch: that of the database's clock, without its jumps."""
        return self._clock.follow(self.shown(connection))

    def elapsed(self) -> float:
        """Return seconds that pass evenly, whatever happens to the clocks."""
        return self._clock.elapsed()

    def shown(self, connection: Connection | sqlite3.Connection | PostgresWrite) -> int:
        """Return what the database's clock shows, in microseconds: hosts that share a database share its clock."""
        if isinstance(connection, PostgresWrite):
            return connection.clock
        if isinstance(connection, sqlite3.Connection) or self.is_sqlite:
            return time.time_ns() // 1000
        return int(connection.execute(text(f"SELECT {_CLOCK}")).scalar_one())  # noqa: S608 - our own text

    def migrate(self) -> None:
        """Bring the schema to its newest version; several processes may call this at once, and wait for the first."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._migrating() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        """One write transaction; on a SQLite file it waits until another process has migrated."""
        if self._file is None:
            with self.writing() as connection:
                yield connection
            return
        engine = create_engine(self.engine.url, connect_args={"timeout": MIGRATION_SECONDS}, poolclass=NullPool)
        _prepare_sqlite(engine)  # this too waits for the lock
        with _translated(self.engine), engine.execution_options(vigie_write=True).begin() as connection:
            self._refuse_lost_file()
            yield connection

    def log_id(self) -> str:
        """Return the id of the log, which a migrated one has. Raises LogUnavailable."""
        if self._log_id is None:
            with self.reading() as connection:
                self._log_id = str(connection.execute(select(log_identity.c.log_id)).scalar_one())
        return self._log_id

    def renew_log_id(self) -> None:
        """Give the log another id: it is a copy, and the original goes on. Raises LogUnavailable."""
        self._log_id = None
        with self.writing() as connection:
            connection.execute(update(log_identity).values(log_id=str(uuid4())))

    def check_room(self) -> None:
        """Raise LogUnavailable where the disk of a SQLite file has no room for a large request."""
        if self._file is not None:
            self._file.check_room()

    def warn_of_long_reads(self) -> None:
        """Log a warning where a program keeps SQLite from reusing its write-ahead log."""
        if self._file is not None:
            self._file.warn_of_long_reads()

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _refuse_lost_file(self) -> None:
        if self._file is not None:
            self._file.refuse_if_lost()


class Stamps(dict[int, int]):
    """The time to log rows under, in microseconds since the epoch, by the id of the rows' model.

    A model that is not in ``closed_until`` is looked up when it is first asked for.
    """

    def __init__(
        self, now: int, closed_until: Iterable[Sequence[int]] = (), look_up: Callable[[int], int] | None = None
    ) -> None:
        super().__init__({model_id: max(now, until) for model_id, until in closed_until})
        self._now = now
        self._look_up = look_up

    def __missing__(self, model_id: int) -> int:
        """Return the time of another model."""
        closed_until = 0 if self._look_up is None else self._look_up(model_id)
        self[model_id] = stamp = max(self._now, closed_until)
        return stamp


def _closed_until(connection: sqlite3.Connection, model_id: int) -> int:
    """Return the end of the model's last closed window: 2 µs, while to read that of fifty models takes 25."""
    row = connection.execute(f"{CLOSED_UNTIL} WHERE id = ?", (model_id,)).fetchone()
    return 0 if row is None else int(row[1])


def missing_file(url: str) -> Path | None:
    """Return the file of a SQLite database that does not exist; None where it does, or where there is no file."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:"
    file = Path(parsed.database) if is_file and parsed.database else None
    return file if file is not None and not file.exists() else None


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as integer microseconds since the epoch, exactly."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(stamp: int) -> datetime:
    """Return microseconds since the epoch as an aware datetime in UTC, exactly."""
    seconds, rest = divmod(stamp, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest)


@contextmanager
def _driving_postgresql(pooled: PoolProxiedConnection) -> Iterator[PostgresWrite]:
    """One transaction of three round trips, besides what is done in it; a connection that fails is closed."""
    driver: Any = pooled.driver_connection
    try:
        driver.autocommit = True  # otherwise psycopg sends a BEGIN of its own
        cursor = driver.execute(_BEGIN_POSTGRESQL)
        while cursor.nextset():
            pass
        read = cursor.fetchall()
        yield PostgresWrite(driver, read[0][0], [(one, until) for _, one, until in read if one is not None])
        driver.execute("COMMIT")
        driver.autocommit = False
    except BaseException:
        pooled.invalidate()
        raise


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise LogUnavailable(f"the prediction log does not answer: {cause}") from error


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


def _prepare_sqlite(engine: Engine) -> None:
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
