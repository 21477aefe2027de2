"""The rows of a window that carry what its failed checks found."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "changed_rows",
        sa.Column("model_id", sa.Integer, nullable=False, server_default="1"),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "start"),
        sa.ForeignKeyConstraint(["model_id", "start"], ["windows.model_id", "windows.start"], ondelete="CASCADE"),
    )
