"""Owns what windows still have: a snapshot in Evidently UI, its values here, a report; and that it is gone."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select, update

from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import WindowRecord, WindowStatus
from api.prediction_log.tables import window_values, windows
from api.prediction_log.window_store import window_of


class KeptWindows:
    """The posted windows of one prediction log. Their rows stay for good: state, counts and failed checks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def with_snapshot(self) -> list[WindowRecord]:
        """Return the windows whose snapshot is still there, oldest first."""
        query = select(windows).where(windows.c.snapshot_id.is_not(None), windows.c.status == WindowStatus.POSTED)
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def with_report(self, before: datetime) -> list[WindowRecord]:
        """Return the windows that ended before that time and whose report is still there, oldest first."""
        query = select(windows).where(windows.c.report_file.is_not(None), windows.c.end < microseconds(before))
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def starting_at(self, starts: Collection[datetime]) -> dict[datetime, WindowRecord]:
        """Return the posted windows that start at these times, by their start."""
        keys = [microseconds(start) for start in starts]
        query = select(windows).where(windows.c.start.in_(keys), windows.c.status == WindowStatus.POSTED)
        with self._database.reading() as connection:
            return {window.start: window for window in map(window_of, connection.execute(query))}

    def leave(self, window: WindowRecord) -> None:
        """Record that a window's snapshot is going, before it goes: then that is finished whatever the clock says."""
        with self._database.writing() as connection:
            going = {"snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == microseconds(window.start)).values(going))

    def forget_snapshot(self, window: WindowRecord) -> int:
        """Record that a window's snapshot is gone, and remove its values; return how many those were."""
        key = microseconds(window.start)
        with self._database.writing() as connection:
            gone = {"snapshot_id": None, "snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == key).values(gone))
            return connection.execute(delete(window_values).where(window_values.c.start == key)).rowcount

    def forget_report(self, window: WindowRecord) -> None:
        """Record that a window's report is gone."""
        with self._database.writing() as connection:
            gone = {"report_file": None, "report_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == microseconds(window.start)).values(gone))

    def adopt(self, window: WindowRecord, snapshot_id: str) -> None:
        """Record another snapshot as the window's: the one that was recorded is not there, and this one is."""
        with self._database.writing() as connection:
            where = windows.c.start == microseconds(window.start)
            connection.execute(update(windows).where(where).values(snapshot_id=snapshot_id))
