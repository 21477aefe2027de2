"""On PostgreSQL nothing is looked up in the labels for each prediction that is removed: the program removes both.

The check of the foreign key took more than half of the time in which old rows are removed.
"""

from alembic import op

from api.prediction_log.migrations.locks import change_in_use

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":  # it would have to copy the table
        change_in_use(lambda: op.execute("ALTER TABLE labels DROP CONSTRAINT IF EXISTS labels_prediction_id_fkey"))
