"""What went wrong with a window by itself, how large its snapshot is, and when snapshot and report were removed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("windows", sa.Column("faults", sa.Integer, nullable=False, server_default="0"))
    op.add_column("windows", sa.Column("snapshot_bytes", sa.Integer))
    op.add_column("windows", sa.Column("snapshot_removed_at", sa.BigInteger))
    op.add_column("windows", sa.Column("report_removed_at", sa.BigInteger))
