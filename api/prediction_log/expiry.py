"""Removal of old rows from the log: in small transactions, so that the writer of predictions hardly waits.

A row is removed once it is old and no window needs it any more, together with its label. It may stop anywhere.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, select

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.tables import horizon, labels, predictions, rejections, windows
from api.prediction_log.windows import unfinished

RESERVE_PAGES = 1024
"""Free pages that a SQLite file keeps (4 MB) for the next rows."""
ROW_OVERHEAD_BYTES = 160
"""About what a row takes besides its text: ids, keys, and its entries in the indexes."""


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """How many rows were removed, or would be; ``bytes`` is about the space that they take."""

    predictions: int = 0
    labels: int = 0
    bytes: int = 0


class LogExpiry:
    """Removes old rows of one prediction log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        """Return the database's time."""
        with self._database.reading() as connection:
            return moment(self._database.now(connection))

    def remove(self, before: datetime, max_rows: int) -> ExpiredRows:
        """Remove up to ``max_rows`` predictions logged before that time, with their labels; return how many."""
        with self._database.writing() as connection:
            query = select(predictions.c.id).where(self._expired(before))
            # a row whose label is being stored stays until the next time
            query = query.order_by(predictions.c.logged_at).limit(max_rows).with_for_update(skip_locked=True)
            ids = connection.execute(query).scalars().all()
            if not ids:
                return ExpiredRows()
            labelled = connection.execute(delete(labels).where(labels.c.prediction_id.in_(ids))).rowcount
            connection.execute(delete(predictions).where(predictions.c.id.in_(ids)))
            return ExpiredRows(len(ids), labelled)

    def remove_rejections(self, before: datetime, max_rows: int) -> int:
        """Remove up to ``max_rows`` counts of refused requests from before that time, and return how many."""
        old = select(rejections.c.id).where(rejections.c.logged_at < microseconds(before)).limit(max_rows)
        with self._database.writing() as connection:
            return connection.execute(delete(rejections).where(rejections.c.id.in_(old.scalar_subquery()))).rowcount

    def count(self, before: datetime) -> ExpiredRows:
        """Return what `remove` would remove in all."""
        text_bytes = func.length(predictions.c.features) + func.length(predictions.c.probabilities)
        query = select(
            func.count().label("predictions"),
            func.count(labels.c.prediction_id).label("labels"),
            func.coalesce(func.sum(text_bytes + ROW_OVERHEAD_BYTES), 0).label("bytes"),
        ).select_from(predictions.outerjoin(labels))
        with self._database.reading() as connection:
            found = connection.execute(query.where(self._expired(before))).one()
        return ExpiredRows(found.predictions, found.labels, int(found.bytes))

    def shrink(self, max_pages: int) -> int:
        """Give up to ``max_pages`` free pages of a SQLite file back to the disk; return the bytes, 0 for none.

        PostgreSQL does this by itself. A file without incremental vacuum keeps its size and reuses its free pages.
        """
        if not self._database.is_sqlite:
            return 0
        with self._database.writing() as connection:
            free, size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
            )
            pages = min(max_pages, free - RESERVE_PAGES)
            if pages <= 0 or connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() != 2:
                return 0
            # past SQLAlchemy, which sees a result without columns and stops at the first page
            sqlite = connection.connection.driver_connection
            if isinstance(sqlite, sqlite3.Connection):
                sqlite.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
            return int(pages * size)

    def _expired(self, before: datetime) -> ColumnElement[bool]:
        """Rows from before that time that no unfinished window will read: by their own time, or by their label's."""
        oldest = select(func.min(windows.c.start)).where(unfinished()).scalar_subquery()
        floor = func.coalesce(oldest, select(horizon.c.closed_until).scalar_subquery())
        of_row = select(labels.c.prediction_id).where(labels.c.prediction_id == predictions.c.id)
        needed = of_row.where(labels.c.arrived_at >= floor).correlate(predictions).exists()
        return and_(predictions.c.logged_at < microseconds(before), predictions.c.logged_at < floor, ~needed)
