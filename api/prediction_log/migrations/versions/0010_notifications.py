"""What the addresses for notifications were told of each model."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False, server_default="1"),
        sa.Column("address", sa.String(32), primary_key=True),
        sa.Column("service", sa.String(32), nullable=False),
        sa.Column("known", sa.JSON, nullable=False),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("error", sa.Text),
    )
