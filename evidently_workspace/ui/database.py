"""The database of the Evidently UI: its folder, the settings of SQLite, and the migrations."""

import logging
import sqlite3
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from evidently.ui.service.storage.sql import migrations
from evidently.ui.service.storage.sql.artifacts import ArtifactModel, ArtifactVersionModel
from evidently.ui.service.storage.sql.components import DatabaseComponent
from evidently.ui.service.storage.sql.models import Base
from evidently.ui.service.tracing.storage.sql import TraceSpanModel
from sqlalchemy import Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
INDEXES = {
    "vigie_points_metric": "points (project_id, metric_type, snapshot_id)",
    "vigie_snapshots_time": "snapshots (project_id, timestamp)",
}
"""Without the first, a panel reads all points of its project."""
INCREMENTAL = 2
"""SQLite's number for this mode of auto_vacuum."""

# These three are part of Base only after their modules are imported.
TABLES = {model.__tablename__ for model in (ArtifactModel, ArtifactVersionModel, TraceSpanModel)} | {
    *Base.metadata.tables
}


class TunedDatabaseComponent(DatabaseComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's database, with SQLite in WAL mode and with its foreign keys in force.

    Without the pragma SQLite ignores them, and deleting a snapshot leaves all of its points behind.
    """

    class Config:
        """Keep Evidently's registry of component names from finding a second "database"."""

        type_alias = "vigie"

    def get_engine(self) -> Engine:
        """Return the engine; SQLite connections get their pragmas as they are opened."""
        engine: Engine = super().get_engine()
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_pragmas)
        return engine


def prepare_folder(url: str) -> None:
    """Create the folder of an SQLite file; ValueError with one line if the address is not usable."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"{url!r} is not a database address such as sqlite:///data/evidently.db") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        folder = Path(str(parsed.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot create {folder} for the database: {error.strerror}") from error


def _set_pragmas(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def prepare_tables(engine: Engine) -> None:
    """Create or migrate the tables; SQLAlchemyError or ValueError where that fails.

    Evidently itself passes the address to Alembic as a setting, where a "%", such as in an encoded password, is read as
    a placeholder. It then falls back to creating tables that are never migrated.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    # Without the pragmas of the serving engine: a migration may move a table, and foreign keys must not react to that.
    plain = create_engine(engine.url)
    config.attributes["connection"] = plain
    try:
        _let_shrink(plain)
        if _lacks_its_version(plain):
            command.stamp(config, "head")
        command.upgrade(config, "head")
        with plain.begin() as connection:
            for name, columns in INDEXES.items():
                connection.execute(text(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}"))
    finally:
        plain.dispose()


def _lacks_its_version(engine: Engine) -> bool:
    """Return whether that fallback created the tables. ValueError if some are missing, as after an interruption."""
    found = set(inspect(engine).get_table_names())
    if "alembic_version" in found or not found & TABLES:
        return False
    if missing := TABLES - found:
        names = ", ".join(sorted(missing))
        raise ValueError(f"the database has tables of Evidently UI but lacks {names}: start with an empty database")
    return True


def _let_shrink(engine: Engine) -> None:
    """Let an SQLite file return free pages to the disk (see `Maintenance`); an old file is rewritten for it, once."""
    if engine.dialect.name != "sqlite":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == INCREMENTAL:
            return
        try:
            connection.exec_driver_sql(f"PRAGMA auto_vacuum={INCREMENTAL}")
            connection.exec_driver_sql("VACUUM")
        except OperationalError as error:
            logger.warning(
                "could not rewrite the database file, so deleted snapshots will not make it smaller: %s", error
            )
