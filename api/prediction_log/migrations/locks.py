"""How a migration changes a table that others use: it waits for the table's lock a little at a time."""

from collections.abc import Callable
from time import monotonic, sleep

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

LOCK_MILLISECONDS = 400
"""Who uses the table waits behind the migration for as long as that waits for those who read."""
PAUSE_SECONDS = 0.6
MAX_SECONDS = 600
_LOCK_NOT_AVAILABLE = "55P03"


def change_in_use(change: Callable[[], None]) -> None:
    """Make a change whose statements read and write no row; on PostgreSQL again and again until nobody is in the way.

    Raises OperationalError if somebody still is after MAX_SECONDS.
    """
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        change()
        return
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'"))
    deadline = monotonic() + MAX_SECONDS
    while True:
        try:
            with connection.begin_nested():
                change()
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or monotonic() >= deadline:
                raise
            sleep(PAUSE_SECONDS)
    connection.execute(sa.text("SET LOCAL lock_timeout TO DEFAULT"))
