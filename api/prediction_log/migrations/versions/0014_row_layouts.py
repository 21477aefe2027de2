"""Rows without the names of their values: these are stored once, for all rows of a version of the model."""

import sqlalchemy as sa
from alembic import op

from api.prediction_log.migrations.locks import change_in_use

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

DAY = 86_400_000_000


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "row_layouts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("features", sa.Text, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
    )
    change_in_use(add_columns)
    if connection.execute(sa.text("SELECT 1 FROM predictions LIMIT 1")).first() is not None:
        # processes of the version before may still run, and read what is logged
        connection.execute(sa.text(f"UPDATE log_identity SET layouts_from = {now_on(connection)} + {DAY}"))  # noqa: S608 - our own text


def now_on(connection: sa.Connection) -> str:
    """Return what the database's clock is in SQL, in microseconds since the epoch."""
    if connection.dialect.name == "sqlite":
        return "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def add_columns() -> None:
    op.add_column("log_identity", sa.Column("layouts_from", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("predictions", sa.Column("layout", sa.Integer))
