"""An id of the log, by which its snapshots in Evidently UI are told from those of other logs."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    identity = op.create_table(
        "log_identity",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_id", sa.String(36), nullable=False),
    )
    op.bulk_insert(identity, [{"id": 1, "log_id": str(uuid4())}])
