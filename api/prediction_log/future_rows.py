"""What the log holds that is dated in the future, after a clock was ahead, and how it comes back to the present."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, case, delete, func, select, text, update

from api.prediction_log.clock import TOLERANCE
from api.prediction_log.database import STAMP_LOCK, Database, moment
from api.prediction_log.records import WindowRecord
from api.prediction_log.tables import horizon, labels, predictions, rejections, windows
from api.prediction_log.windows import window_of

ROWS_AT_ONCE = 1000
"""About twenty milliseconds of SQLite's write lock."""
_DATED = ((predictions.c.id, predictions.c.logged_at), (labels.c.prediction_id, labels.c.arrived_at))
_REJECTIONS = (rejections.c.id, rejections.c.logged_at)


@dataclass(frozen=True, slots=True)
class FutureContent:
    """What is dated after ``now``: windows that end there, and rows; the newest time of all, and that of the rows."""

    now: datetime
    newest: datetime
    newest_row: datetime
    windows: tuple[WindowRecord, ...]
    predictions: int
    labels: int

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
        with self._database.reading() as connection:
            now = self._database.now(connection)
            rows = connection.execute(select(windows).where(windows.c.end > now).order_by(windows.c.start)).all()
            counts, newest = [], [now]
            for _, time in (*_DATED, _REJECTIONS):
                count, last_row = connection.execute(select(func.count(), func.max(time)).where(time > now)).one()
                counts.append(count)
                newest.append(last_row or now)
        last = max(*newest, *(row.end for row in rows))
        return FutureContent(
            moment(now), moment(last), moment(max(newest)), tuple(map(window_of, rows)), counts[0], counts[1]
        )

    def bring_back(self, found: FutureContent) -> None:
        """Date all of that back and delete the windows, also of what has come since. Raises LogUnavailable."""
        shift = (found.newest_row - found.now) // timedelta(microseconds=1)
        for (key, time), count in zip(_DATED, (found.predictions, found.labels), strict=True):
            for _ in range(0, count, ROWS_AT_ONCE):
                with self._database.writing() as connection:
                    self._date_back(connection, key, time, shift, ROWS_AT_ONCE)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            for key, time in (*_DATED, _REJECTIONS):
                self._date_back(connection, key, time, shift, None)
            connection.execute(delete(windows).where(windows.c.end > now))
            last_end = select(func.coalesce(func.max(windows.c.end), 0)).scalar_subquery()
            connection.execute(update(horizon).where(horizon.c.closed_until > now).values(closed_until=last_end))

    def _date_back(
        self, connection: Connection, key: "Column[str]", time: "Column[int]", shift: int, limit: int | None
    ) -> None:
        """Date up to ``limit`` rows back, the oldest first."""
        if not self._database.is_sqlite and limit is not None:  # while no window is closed, see `Database.stamp`
            connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": STAMP_LOCK})
        now = self._database.now(connection)
        closed = select(func.coalesce(func.max(windows.c.end), 0)).where(windows.c.end <= now)
        earliest = connection.execute(closed).scalar_one()
        dated = case((time - shift < earliest, earliest), (time - shift > now, now), else_=time - shift)
        rows = select(key).where(time > now).order_by(time).limit(limit)
        connection.execute(update(key.table).where(key.in_(rows.scalar_subquery())).values({time: dated}))
