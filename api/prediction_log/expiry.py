"""Removal of old rows from the log: in small transactions, so that the writer of predictions hardly waits.

A row is removed once it is old and no window needs it any more, together with its label. It may stop anywhere.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    Table,
    Text,
    and_,
    any_,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
)

from api.prediction_log.database import Database, microseconds
from api.prediction_log.tables import horizon, labels, models, predictions, rejections, windows
from api.prediction_log.windows import unfinished

logger = logging.getLogger(__name__)

RESERVE_PAGES = 1024
"""Free pages that a SQLite file keeps (4 MB) for the next rows."""
MIN_BACKLOG = timedelta(days=1)
ROW_OVERHEAD_BYTES = 160
"""About what a row takes besides its text: ids, keys, and its entries in the indexes."""

_ROWID: ColumnElement[int] = literal_column("predictions.rowid", Integer)
_CTID: ColumnElement[str] = literal_column("predictions.ctid")
_Removed = tuple[int, int, int | None]
"""Rows, labels, and the time of the newest of the rows."""
_Remove = Callable[[Connection, ColumnElement[bool], int], _Removed]


@dataclass(frozen=True, slots=True)
class Pace:
    """How rows are removed beside predictions: up to ``max_rows`` at once, as many as go in ``batch_seconds``.

    After a batch comes a pause that is ``rest`` times as long.
    """

    max_rows: int
    batch_seconds: float
    rest: float


SQLITE_PACE = Pace(5_000, 0.02, 2.0)
"""A prediction waits for one batch, as both need SQLite's write lock."""
POSTGRESQL_PACE = Pace(20_000, 0.25, 0.1)
"""No prediction waits for a batch, only a label of one of its rows. Long ones, as the worker gives way to all others
between two: it is nicer than the database."""

_IN_ORDER_OF_TIME = text(
    "SELECT "
    + ", ".join(
        f"set_config('{name}', 'off', true)"
        for name in ("synchronous_commit", "enable_sort", "enable_hashjoin", "enable_mergejoin", "enable_seqscan")
    )
)
"""For one transaction of PostgreSQL. Its planner cannot know how many rows are old, and would read and sort all of them
for each batch. And nobody waits for the disk: what a crash brings back is removed again."""

NO_OWN: Mapping[int, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """How many rows were removed, or would be; ``bytes`` is about the space that they take."""

    predictions: int = 0
    labels: int = 0
    bytes: int = 0


class LogExpiry:
    """Removes old rows of one prediction log, those of all its models.

    A row is old that was logged ``before`` a time; ``own`` has another time for some models, by their id.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pace = SQLITE_PACE if database.is_sqlite else POSTGRESQL_PACE
        self._reached: dict[int, int] = {}
        self._warned_at = timedelta(0)

    def now(self) -> datetime:
        """Return the database's time."""
        return self._database.read_now()

    def remove(self, before: datetime, max_rows: int, own: Mapping[int, datetime] = NO_OWN) -> ExpiredRows:
        """Remove up to ``max_rows`` old predictions with their labels; return how many.

        A call goes on at the time that the last one reached, and looks from the first row on where that finds none:
        PostgreSQL would read the entries of removed rows in its index again and again, and both what a window needs.
        """
        remove = self._remove_sqlite if self._database.is_sqlite else self._remove_postgresql
        with self._database.writing() as connection:
            overdue = _overdue(connection, predictions, before, own, self._reached)
            gone = self._remove_in(connection, overdue, max_rows, remove)
            if gone.predictions == 0 and self._reached:
                self._reached.clear()
                overdue = _overdue(connection, predictions, before, own)
                gone = self._remove_in(connection, overdue, max_rows, remove)
            if gone.predictions < max_rows and not self._database.is_sqlite:
                gone = replace(gone, labels=gone.labels + _remove_lone_labels(connection, before, own, max_rows))
        return gone

    def _remove_in(
        self, connection: Connection, overdue: Sequence[tuple[int, int]], max_rows: int, remove: _Remove
    ) -> ExpiredRows:
        rows = labelled = 0
        for model_id, bound in overdue:
            since = self._reached.get(model_id, 0)
            old = and_(_expired(model_id, bound), predictions.c.logged_at >= since)
            removed, removed_labels, reached = remove(connection, old, max_rows - rows)
            rows, labelled = rows + removed, labelled + removed_labels
            if reached is not None:
                self._reached[model_id] = reached
            if rows == max_rows:
                break
        return ExpiredRows(rows, labelled)

    @staticmethod
    def _remove_sqlite(connection: Connection, old: ColumnElement[bool], max_rows: int) -> _Removed:
        """Remove rows by their place in the table; the foreign key removes their labels, at half of the cost."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - as the database is SQLite
        picked = select(_ROWID).select_from(predictions).where(old).order_by(predictions.c.logged_at).limit(max_rows)
        changes = driver.total_changes
        last = select(func.max(predictions.c.logged_at)).where(_ROWID.in_(picked))
        reached = connection.execute(last).scalar_one()
        if reached is None:
            return 0, 0, None
        rows = connection.execute(delete(predictions).where(_ROWID.in_(picked))).rowcount
        return rows, driver.total_changes - changes - rows, reached

    @staticmethod
    def _remove_postgresql(connection: Connection, old: ColumnElement[bool], max_rows: int) -> _Removed:
        """Remove rows by their place in the table, then labels by their ids, which come and go as one text."""
        connection.execute(_IN_ORDER_OF_TIME)
        # a row whose label is being stored stays until the next time
        picked = select(_CTID).select_from(predictions).where(old).order_by(predictions.c.logged_at)
        places = func.array(picked.limit(max_rows).with_for_update(skip_locked=True).scalar_subquery())
        removed = delete(predictions).where(any_(places) == _CTID)
        gone = removed.returning(predictions.c.id, predictions.c.logged_at).cte("gone")
        ids = cast(func.array_agg(gone.c.id), Text)
        rows, reached, keys = connection.execute(select(func.count(), func.max(gone.c.logged_at), ids)).one()
        if not rows:
            return 0, 0, None
        # in a statement of its own, which sees the labels that were stored until the rows were locked
        of_rows = labels.c.prediction_id == any_(cast(literal(keys, Text), ARRAY(Text)))
        return rows, connection.execute(delete(labels).where(of_rows)).rowcount, reached

    def check_backlog(self, before: datetime, own: Mapping[int, datetime] = NO_OWN) -> timedelta:
        """Return how much older than it may be the oldest row is that `remove` has not passed by.

        Where that is days, it is logged as a warning, and again whenever it has doubled.
        """
        with self._database.reading() as connection:
            found = _overdue_by(connection, predictions, before, own, self._reached)
        late = timedelta(microseconds=max((overdue for overdue, _, _ in found), default=0))
        if late < MIN_BACKLOG:
            self._warned_at = timedelta(0)
        elif late >= 2 * self._warned_at:
            self._warned_at = late
            logger.warning(
                "the oldest rows of the prediction log are %s older than they may be: either windows wait for them, or "
                "more rows come in than expiry can remove; docs/retention.md says how many that is",
                late,
            )
        return late

    def remove_rejections(self, before: datetime, max_rows: int, own: Mapping[int, datetime] = NO_OWN) -> int:
        """Remove up to ``max_rows`` old counts of refused requests, and return how many."""
        removed = 0
        with self._database.writing() as connection:
            for model_id, bound in _overdue(connection, rejections, before, own):
                old = select(rejections.c.id).where(rejections.c.model_id == model_id, rejections.c.logged_at < bound)
                some = old.limit(max_rows - removed).scalar_subquery()
                removed += connection.execute(delete(rejections).where(rejections.c.id.in_(some))).rowcount
                if removed == max_rows:
                    break
        return removed

    def count(self, before: datetime, own: Mapping[int, datetime] = NO_OWN) -> ExpiredRows:
        """Return what `remove` would remove in all."""
        text_bytes = func.length(predictions.c.features) + func.length(predictions.c.probabilities)
        query = select(
            func.count().label("predictions"),
            func.count(labels.c.prediction_id).label("labels"),
            func.coalesce(func.sum(text_bytes + ROW_OVERHEAD_BYTES), 0).label("bytes"),
        ).select_from(predictions.outerjoin(labels, labels.c.prediction_id == predictions.c.id))
        with self._database.reading() as connection:
            found = [
                connection.execute(query.where(_expired(model_id, bound))).one()
                for model_id, bound in _overdue(connection, predictions, before, own)
            ]
        counted = ((row.predictions, row.labels, int(row.bytes)) for row in found)
        return ExpiredRows(*map(sum, zip(*counted, strict=True))) if found else ExpiredRows()

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


def _overdue(
    connection: Connection,
    table: Table,
    before: datetime,
    own: Mapping[int, datetime],
    since: Mapping[int, int] | None = None,
) -> list[tuple[int, int]]:
    """Return the models that have old rows, and their bounds: first the one whose oldest row is longest overdue.

    Each is one look at the index; and none waits for ever behind another whose rows get old faster than they go.
    ``since`` has a time for some models, by their id, before which no row is looked for.
    """
    found = _overdue_by(connection, table, before, own, since)
    return [(model_id, bound) for _, model_id, bound in sorted(found, reverse=True)]


def _overdue_by(
    connection: Connection, table: Table, before: datetime, own: Mapping[int, datetime], since: Mapping[int, int] | None
) -> list[tuple[int, int, int]]:
    """Return by how many microseconds the oldest row of each such model is overdue, the model, and its bound."""
    first_row = select(func.min(table.c.logged_at)).where(table.c.model_id == models.c.id)
    if since:
        first_row = first_row.where(table.c.logged_at >= case(dict(since), value=models.c.id, else_=0))
    oldest = first_row.scalar_subquery()
    return [
        (bound - first, model_id, bound)
        for model_id, first in connection.execute(select(models.c.id, oldest))
        if first is not None and first < (bound := microseconds(own.get(model_id, before)))
    ]


def _remove_lone_labels(connection: Connection, before: datetime, own: Mapping[int, datetime], max_rows: int) -> int:
    """Remove labels that are older than any prediction of their model: erasures by older versions left them behind.

    These relied on a foreign key, which is gone while they may still run beside this version. It is one look at the
    index where there are none.
    """
    connection.execute(_IN_ORDER_OF_TIME)
    removed = 0
    for model_id in connection.execute(select(models.c.id)).scalars().all():
        first = select(func.min(predictions.c.logged_at)).where(predictions.c.model_id == model_id).scalar_subquery()
        bound = func.least(first, microseconds(own.get(model_id, before)))  # of NULL and a number the number
        of_label = select(predictions.c.id).where(predictions.c.id == labels.c.prediction_id)
        old = labels.c.model_id == model_id, labels.c.arrived_at < bound, ~of_label.correlate(labels).exists()
        some = (
            select(labels.c.prediction_id).where(*old).order_by(labels.c.arrived_at).limit(max_rows).scalar_subquery()
        )
        removed += connection.execute(delete(labels).where(labels.c.prediction_id.in_(some))).rowcount
    return removed


def _expired(model_id: int, bound: int) -> ColumnElement[bool]:
    """Old rows of a model that no unfinished window of it will read: by their own time, or by their label's."""
    oldest = select(func.min(windows.c.start)).where(windows.c.model_id == model_id, unfinished())
    closed_until = select(horizon.c.closed_until).where(horizon.c.id == model_id)
    floor = func.coalesce(oldest.scalar_subquery(), closed_until.scalar_subquery())
    of_row = select(labels.c.prediction_id).where(labels.c.prediction_id == predictions.c.id)
    needed = of_row.where(labels.c.arrived_at >= floor).correlate(predictions).exists()
    time = predictions.c.logged_at
    return and_(predictions.c.model_id == model_id, time < bound, time < floor, ~needed)
