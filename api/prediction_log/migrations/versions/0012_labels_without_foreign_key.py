"""On PostgreSQL nothing is looked up in the labels for each prediction that is removed: the program removes both.

The check of the foreign key took more than half of the time in which old rows are removed.
"""

from time import monotonic, sleep

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

LOCK_MILLISECONDS = 400
"""Who logs predictions waits behind this statement for as long as it waits for those who read."""
PAUSE_SECONDS = 0.6
MAX_SECONDS = 600


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return  # it would have to copy the table
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'"))
    deadline = monotonic() + MAX_SECONDS
    while True:
        try:
            with connection.begin_nested():
                connection.execute(sa.text("ALTER TABLE labels DROP CONSTRAINT IF EXISTS labels_prediction_id_fkey"))
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03" or monotonic() >= deadline:
                raise
            sleep(PAUSE_SECONDS)
    connection.execute(sa.text("SET LOCAL lock_timeout TO DEFAULT"))
