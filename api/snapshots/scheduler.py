"""When periodic work runs: APScheduler, in the one process that holds the lease."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from api.alerts.notifier import AlertRounds
from api.errors import LogUnavailable
from api.prediction_log.lease import Lease
from api.prediction_log.windows import WindowStore
from api.snapshots.retention_tiers import Removals
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


logger = logging.getLogger(__name__)

BEAT = "beat"
STOP_GRACE_SECONDS = 5.0
PAST_THE_END = timedelta(milliseconds=20)
"""A lease is over only after its end, and two processes that wait for it need not meet in the same instant."""


class SnapshotScheduler:
    """Renews the lease at every beat; while it is held, closes elapsed windows and has the worker take them.

    While another process holds it, a beat also falls on the lease's end, so that of a holder that died at most two
    heartbeats are missed.
    """

    def __init__(
        self,
        store: WindowStore,
        lease: Lease,
        worker: SnapshotWorker,
        alerts: AlertRounds,
        retention: RetentionRounds,
        *,
        interval: timedelta,
        heartbeat: timedelta,
    ) -> None:
        self._store = store
        self._lease = lease
        self._worker = worker
        self._alerts = alerts
        self._retention = retention
        self._interval = interval
        self._heartbeat = heartbeat
        self.lease_held = False
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            # a late beat is still wanted, once: the default drops one that is a second late
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Start beating; the first beat is now."""
        trigger = IntervalTrigger(seconds=self._heartbeat.total_seconds())
        self._scheduler.add_job(self._beat, trigger, id=BEAT, next_run_time=datetime.now(UTC))
        self._scheduler.start()
        self._alerts.start()

    def stop(self) -> None:
        """Stop beating and give the lease up; the window under way gets a few seconds to finish."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        self._alerts.stop(STOP_GRACE_SECONDS)
        if self.lease_held:
            self.lease_held = False
            try:
                self._lease.release()
            except LogUnavailable as error:
                logger.warning("the lease could not be given up, so it ends by itself: %s", error)
        self._worker.stop(STOP_GRACE_SECONDS)

    def wake(self) -> None:
        """Beat now instead of at the next heartbeat."""
        if self._scheduler.running:
            self._scheduler.modify_job(BEAT, next_run_time=datetime.now(UTC))

    def _beat(self) -> None:
        try:
            held = self._lease.take()
            if held and not self.lease_held:
                logger.info("this process takes the snapshots")
                self._worker.warm()
            self.lease_held = held
            self._alerts.hold(held)
            if held:
                self._store.close_elapsed(self._interval)
                if self._store.waiting():
                    self._worker.process_due()
                else:
                    self._retention.beat()
            else:
                self._beat_at_the_end_of_the_lease()
        except LogUnavailable as error:
            self.lease_held = False
            self._alerts.hold(False)
            logger.warning("no snapshots for now: %s", error)

    def _beat_at_the_end_of_the_lease(self) -> None:
        rest = self._lease.ends_in() + PAST_THE_END
        if rest < self._heartbeat and self._scheduler.running:
            self._scheduler.modify_job(BEAT, next_run_time=datetime.now(UTC) + max(rest, PAST_THE_END))
