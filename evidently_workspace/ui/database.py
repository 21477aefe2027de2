"""The database of the Evidently UI: where it lies, how SQLite is set up for it, and its migrations."""

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

BUSY_TIMEOUT_MS = 10_000


class TunedDatabaseComponent(DatabaseComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's database, with SQLite in WAL mode and with its foreign keys in force.

    Without the pragma SQLite ignores them, and deleting a snapshot leaves all of its points behind.
    """

    class Config:
        """Keep Evidently's registry of component names from seeing a second "database"."""

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


logger = logging.getLogger(__name__)

INDEXES = {
    "vigie_points_metric": "points (project_id, metric_type, snapshot_id)",
    "vigie_snapshots_time": "snapshots (project_id, timestamp)",
}
"""Without the first, a panel reads all points of its project."""
INCREMENTAL = 2
"""SQLite's number for this mode of auto_vacuum."""

# These three belong to Base only once their modules are imported.
TABLES = {model.__tablename__ for model in (ArtifactModel, ArtifactVersionModel, TraceSpanModel)} | {
    *Base.metadata.tables
}


def prepare_tables(engine: Engine) -> None:
    """Create or migrate the tables; SQLAlchemyError or ValueError where that fails.

    Evidently's own way hands the address to Alembic as a setting, where a "%", such as in an encoded password, is
    taken for a placeholder; it then falls back to creating tables that nothing migrates afterwards.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    # Without the pragmas of the serving engine: a migration may move a table, and no foreign key may act on that.
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
    """Whether that fall-back made the tables. ValueError where it left some out, as it does when it is cut off."""
    found = set(inspect(engine).get_table_names())
    if "alembic_version" in found or not found & TABLES:
        return False
    if missing := TABLES - found:
        names = ", ".join(sorted(missing))
        raise ValueError(f"the database has tables of Evidently UI but lacks {names}: start with an empty database")
    return True


def _let_shrink(engine: Engine) -> None:
    """Let an SQLite file give free pages back (see `ui_upkeep`), which an old file must be rewritten for, once."""
    if engine.dialect.name != "sqlite":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == INCREMENTAL:
            return
        try:
            connection.exec_driver_sql(f"PRAGMA auto_vacuum={INCREMENTAL}")
            connection.exec_driver_sql("VACUUM")
        except OperationalError as error:
            logger.warning("the database file keeps its size whatever is deleted: it could not be rewritten: %s", error)
