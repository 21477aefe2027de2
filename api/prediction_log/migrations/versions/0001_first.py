"""The first schema: predictions, labels, windows, their values, the horizon and the lease."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("logged_at", sa.BigInteger, nullable=False),
        sa.Column("sample_key", sa.Integer, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("features", sa.Text, nullable=False),
        sa.Column("prediction", sa.Text, nullable=False),
        sa.Column("probabilities", sa.Text, nullable=False),
    )
    op.create_index("predictions_by_time", "predictions", ["logged_at", "sample_key"])
    op.create_table(
        "labels",
        sa.Column("prediction_id", sa.String(36), sa.ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("arrived_at", sa.BigInteger, nullable=False),
    )
    op.create_index("labels_by_time", "labels", ["arrived_at"])
    horizon = op.create_table(
        "horizon",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("closed_until", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(horizon, [{"id": 1, "closed_until": 0}])
    op.create_table(
        "windows",
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("rows", sa.Integer),
        sa.Column("labelled_rows", sa.Integer),
        sa.Column("failed_checks", sa.JSON, nullable=False),
        sa.Column("not_computed", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(64)),
        sa.Column("project_id", sa.String(36)),
        sa.Column("snapshot_id", sa.String(36)),
        sa.Column("report_file", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("duration_seconds", sa.Float),
    )
    op.create_index("windows_by_status", "windows", ["status", "start"])
    op.create_table(
        "window_values",
        sa.Column("start", sa.BigInteger, sa.ForeignKey("windows.start", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("column", sa.String(255), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_index("window_values_by_name", "window_values", ["name", "column", "start"])
    op.create_table(
        "lease",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
