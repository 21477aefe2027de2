"""The log's database: the engine, its transactions, its clock and its migrations."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Connection,
    Engine,
    PoolProxiedConnection,
    create_engine,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from api.errors import LogUnavailable
from api.prediction_log.clock import SteadyClock
from api.prediction_log.sqlite import SqliteDriver, SqliteFile, prepare_sqlite
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
KEPT_SECONDS = 1.0
"""For so long a connection to PostgreSQL counts as working after its last transaction."""


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
            prepare_sqlite(self.engine)
        else:
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = create_engine(
                parsed, pool_pre_ping=True, connect_args={"connect_timeout": max(2, ceil(timeout_seconds))}
            )
        self._kept: list[tuple[PoolProxiedConnection, float]] = []
        self._write_engine = self.engine.execution_options(vigie_write=True)
        self._driver = SqliteDriver(self.engine)

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
        """One write transaction on the driver's own connection, without SQLAlchemy's work per statement.

        Errors as above. For the one transaction that every request waits for: on SQLite it costs a ninth of `writing`,
        on PostgreSQL it has half as many round trips.
        """
        if self.is_sqlite:
            with _translated(self.engine), self._driver.writing() as connection:
                self._refuse_lost_file()
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            return
        with _translated(self.engine):
            pooled = self._kept_connection()
            with _driving_postgresql(pooled) as write:
                yield write
            self._kept.append((pooled, time.monotonic()))

    def _kept_connection(self) -> PoolProxiedConnection:
        """Return the connection of the last such transaction, or one of the pool, which first asks whether it works."""
        try:
            pooled, used_at = self._kept.pop()
        except IndexError:  # asked before, another thread could be first
            return self.engine.raw_connection()
        if time.monotonic() - used_at < KEPT_SECONDS:
            return pooled
        pooled.close()
        return self.engine.raw_connection()

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
        return int(connection.execute(text(f"SELECT {_CLOCK}")).scalar_one())

    def migrate(self) -> None:
        """Bring the schema to its newest version; several processes may call this at once, and wait for the first."""
        with self._migrating() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            if _is_newest(connection):
                return
            # Imported here: it is a fifth of the start of a process, and most starts find the newest schema.
            from alembic import command  # noqa: PLC0415
            from alembic.config import Config  # noqa: PLC0415

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
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
        prepare_sqlite(engine)  # this too waits for the lock
        with _translated(self.engine), engine.execution_options(vigie_write=True).begin() as connection:
            self._refuse_lost_file()
            yield connection

    def read_now(self) -> datetime:
        """Return the database's time, read in a transaction of its own. Raises LogUnavailable."""
        with self.reading() as connection:
            return moment(self.now(connection))

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

    def size_bytes(self) -> int:
        """Return what predictions and labels take on the disk with their indexes; of SQLite the size of its file."""
        with self.reading() as connection:
            if self.is_sqlite:
                names = ("page_count", "page_size")
                pages, size = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names)
                return int(pages * size)
            sizes = "SELECT pg_total_relation_size('predictions') + pg_total_relation_size('labels')"
            return int(connection.execute(text(sizes)).scalar_one())

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
        while self._kept:
            self._kept.pop()[0].close()
        self._driver.close()
        self.engine.dispose()

    def _refuse_lost_file(self) -> None:
        if self._file is not None:
            self._file.refuse_if_lost()


def _is_newest(connection: Connection) -> bool:
    newest = max(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    if not inspect(connection).has_table("alembic_version"):
        return False
    return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars()) == [newest]


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
        pooled.close()
        raise


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise LogUnavailable(f"the prediction log does not answer: {cause}") from error
