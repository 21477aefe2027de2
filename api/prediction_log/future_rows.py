"""What the log holds that is dated in the future, after a clock was ahead, and how it comes back to the present."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Table, case, delete, func, select, text, update

from api.prediction_log.clock import TOLERANCE
from api.prediction_log.database import STAMP_LOCK, Database, moment
from api.prediction_log.records import WindowRecord
from api.prediction_log.tables import horizon, labels, predictions, rejections, windows
from api.prediction_log.windows import window_of

ROWS_AT_ONCE = 1000
"""About twenty milliseconds of SQLite's write lock."""
_DATED = ((predictions, predictions.c.logged_at), (labels, labels.c.arrived_at), (rejections, rejections.c.logged_at))


@dataclass(frozen=True, slots=True)
class FutureContent:
    """What is dated after ``now``: windows that end there, rows by table, and the newest time of all and of rows."""

    now: datetime
    newest: datetime
    newest_row: datetime
    windows: tuple[WindowRecord, ...]
    rows: Counter[str]

    @property
    def ahead(self) -> timedelta:
        """How far ahead the newest is."""
        return self.newest - self.now

    @property
    def is_wrong(self) -> bool:
        """Whether that is more than a clock that is being corrected makes."""
        return self.ahead > TOLERANCE


class FutureRows:
    """Brings what is dated in the future back, so that rows have the time of the clock again, and are in one window.

    Only a person can know that the clock is right now, and was wrong then: the other way round, this would date the
    past anew. Every row keeps its distance to the others, but for those that would come into a window that is closed
    and not in the future: they go to its end. The windows of the future are deleted, and their rows come into those
    that are closed next. May stop anywhere and be called again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self) -> FutureContent:
        """Return what is dated in the future. Raises LogUnavailable."""
        counts, newest = Counter[str](), 0
        with self._database.reading() as connection:
            now = self._database.now(connection)
            rows = connection.execute(select(windows).where(windows.c.end > now).order_by(windows.c.start)).all()
            for model_id in _models(connection):
                for table, time in _DATED:
                    inside = select(func.count(), func.max(time)).where(table.c.model_id == model_id, time > now)
                    count, last = connection.execute(inside).one()
                    counts[table.name] += count
                    newest = max(newest, last or now)
        newest_of_all = max([newest, now, *(row.end for row in rows)])
        found = tuple(map(window_of, rows))
        return FutureContent(moment(now), moment(newest_of_all), moment(max(newest, now)), found, counts)

    def bring_back(self, found: FutureContent) -> None:
        """Date all of that back and delete the windows, also of what has come since. Raises LogUnavailable."""
        shift = (found.newest_row - found.now) // timedelta(microseconds=1)
        with self._database.reading() as connection:
            model_ids = _models(connection)
        for table, time in _DATED:
            for model_id in model_ids:
                for _ in range(0, found.rows[table.name], ROWS_AT_ONCE):  # at most: others go on logging
                    with self._database.writing() as connection:
                        if not self._date_back(connection, model_id, table, time, shift, limit=ROWS_AT_ONCE):
                            break
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            for model_id in _models(connection):
                for table, time in _DATED:
                    self._date_back(connection, model_id, table, time, shift, limit=None)
            connection.execute(delete(windows).where(windows.c.end > now))
            last_end = select(func.coalesce(func.max(windows.c.end), 0)).where(windows.c.model_id == horizon.c.id)
            ahead = update(horizon).where(horizon.c.closed_until > now)
            connection.execute(ahead.values(closed_until=last_end.scalar_subquery()))

    def _date_back(
        self, connection: Connection, model_id: int, table: Table, time: "Column[int]", shift: int, *, limit: int | None
    ) -> int:
        """Date up to ``limit`` rows of a model back, the oldest first, and return how many."""
        if not self._database.is_sqlite and limit is not None:  # while no window is closed, see `Database.stamps`
            connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": STAMP_LOCK})
        now = self._database.now(connection)
        closed = select(func.coalesce(func.max(windows.c.end), 0))
        closed = closed.where(windows.c.model_id == model_id, windows.c.end <= now)
        earliest = connection.execute(closed).scalar_one()
        dated = case((time - shift < earliest, earliest), (time - shift > now, now), else_=time - shift)
        (key,) = table.primary_key.columns
        rows = select(key).where(table.c.model_id == model_id, time > now).order_by(time).limit(limit)
        return connection.execute(update(table).where(key.in_(rows.scalar_subquery())).values({time: dated})).rowcount


def _models(connection: Connection) -> Sequence[int]:
    return connection.execute(select(horizon.c.id)).scalars().all()
