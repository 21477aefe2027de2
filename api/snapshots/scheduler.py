"""Owns when snapshots are taken: APScheduler, in the one process that holds the lease."""

import logging
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from api.alerts.rounds import AlertRounds
from api.errors import LogUnavailable
from api.prediction_log.lease import Lease
from api.prediction_log.window_store import WindowStore
from api.snapshots.retention_rounds import RetentionRounds
from api.snapshots.worker import SnapshotWorker

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
                    self._worker.take_due()
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
