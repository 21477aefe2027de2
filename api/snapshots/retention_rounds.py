"""Owns when what is old is removed: in the snapshot worker, when no window waits, at an interval."""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic

from api.snapshots.removals import Removals
from api.snapshots.worker import SnapshotWorker

FIRST_AFTER = timedelta(minutes=1)
"""A process that never lives for an interval still removes what is old; a start has other things to do first."""


class RetentionRounds:
    """Has the worker remove what is old every ``interval``, and on at the next beat while some of it is left.

    ``report`` is told what was removed, or None where the worker failed.
    """

    def __init__(
        self,
        worker: SnapshotWorker,
        report: Callable[[Removals | None], None],
        interval: timedelta,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._worker = worker
        self._report = report
        self._interval_seconds = interval.total_seconds()
        self._elapsed = elapsed
        self._due_at = elapsed() + min(FIRST_AFTER, interval).total_seconds()

    def beat(self) -> None:
        """Begin a round if it is time for one and the worker is free."""
        now = self._elapsed()
        if now >= self._due_at and not self._worker.busy:
            self._due_at = now + self._interval_seconds
            self._worker.remove_old(self._on_done)

    def _on_done(self, removals: Removals | None) -> None:
        self._report(removals)
        if removals is not None and removals.unfinished:
            self._due_at = self._elapsed()
