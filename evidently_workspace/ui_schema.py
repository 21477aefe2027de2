"""Brings the tables of the Evidently UI up to date: Evidently's migrations, then the index that panels need."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from evidently.ui.service.storage.sql import migrations
from evidently.ui.service.storage.sql.artifacts import ArtifactModel, ArtifactVersionModel
from evidently.ui.service.storage.sql.models import Base
from evidently.ui.service.tracing.storage.sql import TraceSpanModel
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

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
