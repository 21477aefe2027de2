"""What alarms are learned from, the alarms of each version of the model, and which of them judged a window."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("windows", sa.Column("alarms_version", sa.Integer))
    op.create_table(
        "window_statistics",
        sa.Column(
            "start",
            sa.BigInteger,
            sa.ForeignKey("windows.start", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("window_statistics_by_version", "window_statistics", ["model_version", "start"])
    op.create_table(
        "alarm_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("content", sa.Text),
    )
    op.create_index("alarm_versions_by_model", "alarm_versions", ["model_version", "id"])
