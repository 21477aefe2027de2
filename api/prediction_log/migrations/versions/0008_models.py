"""Several models in one log: whose row each one is, and names for the models."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WINDOW_INDEXES = ("windows_by_status", "windows_with_snapshot", "windows_with_report")
VALUE_INDEX, STATISTICS_INDEX = "window_values_by_name", "window_statistics_by_version"
ROWS_BY_TIME = {
    "predictions": ("predictions_by_time", ["model_id", "logged_at", "sample_key"]),
    "labels": ("labels_by_time", ["model_id", "arrived_at"]),
    "rejections": ("rejections_by_time", ["model_id", "logged_at"]),
    "alarm_versions": ("alarm_versions_by_model", ["model_id", "model_version", "id"]),
}


def upgrade() -> None:
    models = op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), unique=True),
    )
    op.bulk_insert(models, [{"id": 1, "name": None}])
    for table, (index, columns) in ROWS_BY_TIME.items():
        op.add_column(table, model_id())
        op.drop_index(index, table)
        op.create_index(index, table, columns)
    for index in WINDOW_INDEXES:
        op.drop_index(index, "windows")
    op.drop_index(VALUE_INDEX, "window_values")
    op.drop_index(STATISTICS_INDEX, "window_statistics")
    if op.get_context().dialect.name == "sqlite":
        copy_windows()
    else:
        widen_keys()
    op.create_index("windows_by_status", "windows", ["status", "start"])
    op.create_index("windows_of_model", "windows", ["model_id", "status", "start"])
    for name, still_there, columns in (
        ("windows_with_snapshot", "snapshot_id", ["model_id", "status", "start"]),
        ("windows_with_report", "report_file", ["model_id", "start"]),
    ):
        where = sa.text(f"{still_there} IS NOT NULL")
        op.create_index(name, "windows", columns, sqlite_where=where, postgresql_where=where)
    op.create_index(VALUE_INDEX, "window_values", ["model_id", "name", "column", "start"])
    op.create_index(STATISTICS_INDEX, "window_statistics", ["model_id", "model_version", "start"])


def widen_keys() -> None:
    """PostgreSQL changes keys in place; to widen a text or to add a column with a default reads no row."""
    op.alter_column("predictions", "id", type_=sa.String(160))
    op.alter_column("labels", "prediction_id", type_=sa.String(160))
    children = {"window_values": ["model_id", "start", "name", "column"], "window_statistics": ["model_id", "start"]}
    for table in children:
        op.drop_constraint(f"{table}_start_fkey", table, type_="foreignkey")
    for table, key in {"windows": ["model_id", "start"], **children}.items():
        op.add_column(table, model_id())
        op.drop_constraint(f"{table}_pkey", table, type_="primary")
        op.create_primary_key(f"{table}_pkey", table, key)
    for table in children:
        columns = ["model_id", "start"]
        op.create_foreign_key(
            f"{table}_model_id_start_fkey", table, "windows", columns, columns, ondelete="CASCADE"
        )


def copy_windows() -> None:
    """SQLite cannot change a primary key: the windows, of which there are few, go into new tables."""
    names = ("windows", "window_values", "window_statistics")
    for name in names:
        op.rename_table(name, f"old_{name}")
    op.create_table("windows", model_id(), *window_columns(), sa.PrimaryKeyConstraint("model_id", "start"))
    op.create_table(
        "window_values",
        model_id(),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("column", sa.String(255), nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "start", "name", "column"),
        of_window(),
    )
    op.create_table(
        "window_statistics",
        model_id(),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "start"),
        of_window(),
    )
    for name in names:
        columns = ", ".join(f'"{column["name"]}"' for column in sa.inspect(op.get_bind()).get_columns(f"old_{name}"))
        op.execute(f"INSERT INTO {name} (model_id, {columns}) SELECT 1, {columns} FROM old_{name}")
    for name in reversed(names):  # first what refers to the windows, or it would be deleted with them
        op.drop_table(f"old_{name}")


def model_id() -> sa.Column[int]:
    return sa.Column("model_id", sa.Integer, nullable=False, server_default="1")


def of_window() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["model_id", "start"], ["windows.model_id", "windows.start"], ondelete="CASCADE")


def window_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("start", sa.BigInteger, nullable=False),
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
        sa.Column("faults", sa.Integer, nullable=False, server_default="0"),
        sa.Column("snapshot_bytes", sa.Integer),
        sa.Column("snapshot_removed_at", sa.BigInteger),
        sa.Column("report_removed_at", sa.BigInteger),
        sa.Column("alarms_version", sa.Integer),
    ]
