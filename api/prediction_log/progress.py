"""Owns what is known of the snapshots' progress, as one small read: what waits, and what was posted last."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from api.prediction_log.database import Database
from api.prediction_log.records import WindowStatus
from api.prediction_log.tables import windows
from api.prediction_log.window_store import unfinished


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """How far the snapshots are.

    ``waiting`` counts windows that have ended and are still to be posted; ``behind`` is how long ago the oldest of
    them ended, by the database's clock. ``posted_at`` (seconds since the epoch) and ``duration_seconds`` are those of
    the newest posted window, None where there is none.
    """

    waiting: int
    behind: timedelta
    posted_at: float | None
    duration_seconds: float | None


def read_progress(database: Database) -> SnapshotProgress:
    """Read the progress. Raises LogUnavailable."""
    with database.reading() as connection:
        waiting, oldest_end = connection.execute(
            select(func.count(), func.min(windows.c.end)).where(unfinished())
        ).one()
        posted = connection.execute(
            select(windows.c.finished_at, windows.c.duration_seconds)
            .where(windows.c.status == WindowStatus.POSTED)
            .order_by(windows.c.start.desc())
            .limit(1)
        ).first()
        behind = 0 if oldest_end is None else max(0, database.now(connection) - oldest_end)
    return SnapshotProgress(
        waiting,
        timedelta(microseconds=behind),
        None if posted is None or posted.finished_at is None else posted.finished_at / 1_000_000,
        None if posted is None else posted.duration_seconds,
    )
