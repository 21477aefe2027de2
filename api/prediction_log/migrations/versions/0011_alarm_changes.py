"""Mutes and thresholds that people set, and who did it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alarm_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, nullable=False, server_default="1"),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("made_by", sa.String(128), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("check", sa.String(64)),
        sa.Column("column", sa.String(255)),
        sa.Column("measure", sa.String(64)),
        sa.Column("value", sa.Float),
        sa.Column("until", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("model_version", sa.String(64)),
        sa.Column("undoes", sa.Integer),
    )
    op.create_index("alarm_changes_by_model", "alarm_changes", ["model_id", "action", "id"])
    op.add_column("alarm_versions", sa.Column("overrides", sa.JSON))
    op.add_column("windows", sa.Column("muted_checks", sa.JSON))
