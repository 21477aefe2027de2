"""References that were drawn from the rows of the log, and the alarms that hold with them."""

import sqlalchemy as sa
from alembic import op

from api.prediction_log.migrations.locks import change_in_use

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "own_references",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, nullable=False, server_default="1"),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("labelled_rows", sa.Integer, nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("own_references_of_model", "own_references", ["model_id", "id"])
    change_in_use(add_columns)


def add_columns() -> None:
    op.add_column("alarm_versions", sa.Column("reference_id", sa.Integer))
    op.add_column("alarm_versions", sa.Column("content_by_reference", sa.Text))
