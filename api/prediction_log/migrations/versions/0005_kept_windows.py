"""The few windows that still have a snapshot or a report, found without a look at all others."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes = (("windows_with_snapshot", "snapshot_id", ["status", "start"]), ("windows_with_report", "report_file", ["start"]))
    for name, still_there, columns in indexes:
        where = sa.text(f"{still_there} IS NOT NULL")
        op.create_index(name, "windows", columns, sqlite_where=where, postgresql_where=where)
