"""The periodic jobs of a process: the scheduler that runs them, and what the heartbeat and the status job do."""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Lock
from time import monotonic
from typing import Protocol

import httpx
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from api.errors import LogUnavailable
from api.metrics import Metrics
from api.model_metrics import ModelMetrics
from api.prediction_log.clock import seconds_since_boot
from api.prediction_log.lease import Lease
from api.prediction_log.reader import SnapshotProgress
from api.snapshots.retention_tiers import Removals
from api.snapshots.worker import SnapshotWorker

logger = logging.getLogger(__name__)

HEARTBEAT, STATUS, ALERTS, RETENTION, MODEL_RELOAD = "heartbeat", "status", "alerts", "retention", "model_reload"
"""The names of the jobs, as the metrics show them."""
STOP_GRACE_SECONDS = 5.0


class PeriodicJob:
    """A function that runs every ``interval``. A run that fails is logged and counted; the next one comes all the same.

    ``first_after`` is how long after the start the first run comes, by default one interval.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[], object],
        interval: timedelta,
        metrics: Metrics,
        first_after: timedelta | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self.first_after = interval if first_after is None else first_after
        self.woken = Event()
        self._function = function
        self._metrics = metrics
        self._running = Lock()
        self._stopped = False
        self._log_is_unavailable = False
        metrics.add_periodic_job(name)

    def run(self) -> None:
        """Run once, unless the job was stopped. Never raises."""
        with self._running:
            self.woken.clear()
            if self._stopped:
                return
            try:
                self._function()
            except LogUnavailable as error:
                self._metrics.count_job_failure(self.name)
                # requests and health checks say it too, so once is enough
                level = logging.DEBUG if self._log_is_unavailable else logging.WARNING
                logger.log(level, "the periodic job %s waits for the prediction log: %s", self.name, error)
                self._log_is_unavailable = True
            except Exception:
                self._metrics.count_job_failure(self.name)
                logger.exception("the periodic job %s failed", self.name)
            else:
                self._metrics.observe_job_success(self.name, time.time())
                self._log_is_unavailable = False

    def stop(self, grace_seconds: float) -> None:
        """Start no other run, and wait for the one under way; after the grace it is left to end by itself."""
        self._stopped = True
        if self._running.acquire(timeout=max(grace_seconds, 0.0)):
            self._running.release()
        else:
            logger.warning("the periodic job %s is still running at the end", self.name)


MAX_CLOCK_GAP = timedelta(seconds=1)
"""By how much the clock may leave the time that really passed before the jobs follow it."""
MAX_WAIT_SECONDS = 1.0


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc] # APScheduler ships no types
    """APScheduler's scheduler, whose intervals last as long as they should even when the machine's clock is set.

    It waits by a clock that never jumps, but keeps the times of the next runs by the machine's clock. So when that one
    jumps, all next runs jump with it: otherwise a clock set back by two hours would stop every job for two hours.
    """

    _clock: tuple[datetime, float] | None = None

    def follow_clock(self) -> datetime:
        """Move the next run of every job by as much as the machine's clock has jumped since the last call.

        Return what the clock shows. A run that is further away than its interval all the same, because the clock jumped
        while APScheduler read it, comes at its interval.
        """
        with self._jobstores_lock:
            now, at = datetime.now(UTC), seconds_since_boot()
            last, self._clock = self._clock or (now, at), (now, at)
            jump = now - last[0] - timedelta(seconds=at - last[1])
            if abs(jump) > MAX_CLOCK_GAP:
                logger.warning("the clock was set by %.0f s; the periodic jobs go on", jump.total_seconds())
            else:
                jump = timedelta(0)
            for store in self._jobstores.values():
                for job in store.get_all_jobs():
                    wanted = min(job.next_run_time + jump, now + job.trigger.interval)
                    if wanted != job.next_run_time:
                        job._modify(next_run_time=wanted)  # noqa: SLF001 - `modify_job` would wake the loop for each
                        store.update_job(job)
            return now

    def _process_jobs(self) -> float | None:
        self.follow_clock()
        wait_seconds: float | None = super()._process_jobs()
        # the clock may have jumped while the wait was worked out
        return None if wait_seconds is None else min(wait_seconds, MAX_WAIT_SECONDS)


class JobScheduler:
    """Runs periodic jobs with APScheduler, each on a thread of its own: a job that hangs delays no other."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._jobs: dict[str, PeriodicJob] = {}
        self._scheduler = SteadyScheduler(
            timezone=UTC,
            # a late run is still wanted, once: by default APScheduler drops one that is a second late
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._after_run, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def add(
        self, name: str, function: Callable[[], object], interval: timedelta, first_after: timedelta | None = None
    ) -> None:
        """Add a job, to be called before the start."""
        self._jobs[name] = PeriodicJob(name, function, interval, self._metrics, first_after)

    def start(self) -> None:
        """Start the jobs."""
        now = datetime.now(UTC)
        for name, job in self._jobs.items():
            self._scheduler.add_executor(ThreadPoolExecutor(1), alias=name)
            trigger = IntervalTrigger(seconds=job.interval.total_seconds())
            self._scheduler.add_job(job.run, trigger, id=name, executor=name, next_run_time=now + job.first_after)
        self._scheduler.start()

    def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Stop the jobs; the runs under way get a few seconds together."""
        if self._scheduler.running:
            # APScheduler holds its lock while it waits, and a run that asks for another one would wait for that lock
            self._scheduler.shutdown(wait=False)
        deadline = monotonic() + grace_seconds
        for job in self._jobs.values():
            job.stop(deadline - monotonic())

    def wake(self, name: str) -> None:
        """Run a job now; one that is running runs once more. Does nothing where this process has no such job."""
        if name in self._jobs:
            self._jobs[name].woken.set()
            self.run_in(name, timedelta(0))

    def run_in(self, name: str, delay: timedelta) -> None:
        """Have the next run of a job come after this time instead of at its interval."""
        with suppress(JobLookupError):  # the scheduler has stopped meanwhile
            if self._scheduler.running:
                self._scheduler.modify_job(name, next_run_time=self._scheduler.follow_clock() + delay)

    def _after_run(self, event: JobExecutionEvent) -> None:
        """Run a job again that was woken during its run: APScheduler starts no second run beside the first."""
        if self._jobs[event.job_id].woken.is_set():
            self.run_in(event.job_id, timedelta(0))


PAST_THE_END = timedelta(milliseconds=20)
"""A lease is over only after its end, and two processes that wait for it need not meet in the same instant."""


class Timeline(Protocol):
    """Windows that end and are to be processed: those of one model, or of several."""

    def close_elapsed(self, interval: timedelta, /) -> object:
        """Close every window that has ended by now; those of models without an interval of their own last this long."""

    def has_due_window(self) -> bool:
        """Whether a window can be processed now."""


class SnapshotHeartbeat:
    """Renews the lease; while it is held, closes elapsed windows and gives the worker its work.

    ``lease_gained`` is called when this process gets the lease, ``run_again_in`` asks for an early next heartbeat,
    and ``report_removals`` gets what a run of retention removed, or None where the worker failed.
    """

    def __init__(
        self,
        store: Timeline,
        lease: Lease,
        worker: SnapshotWorker,
        *,
        window: timedelta,
        interval: timedelta,
        lease_gained: Callable[[], None],
        run_again_in: Callable[[timedelta], None],
        report_removals: Callable[[Removals | None], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._worker = worker
        self._window = window
        self._interval = interval
        self._lease_gained = lease_gained
        self._run_again_in = run_again_in
        self._report_removals = report_removals
        self._retention_due = False
        self.lease_held = False

    def run(self) -> None:
        """Make one heartbeat. Raises LogUnavailable; the lease then counts as lost."""
        try:
            self._hold(self._lease.take())
            if self.lease_held:
                self._give_work()
            else:
                self._run_at_the_end_of_the_lease()
        except LogUnavailable:
            self.lease_held = False
            raise

    def request_retention(self) -> None:
        """Have what is old removed at the next heartbeat that finds the lease held and the worker free.

        It begins with a heartbeat, because a run lasts a little less than an interval: then the worker is free again
        at the next one, when a window may be due.
        """
        self._retention_due = True

    def stop(self) -> None:
        """Release the lease and end the worker; its window gets a few seconds to finish."""
        if self.lease_held:
            self.lease_held = False
            try:
                self._lease.release()
            except LogUnavailable as error:
                logger.warning("the lease could not be released, so it lasts until it expires: %s", error)
        self._worker.stop(STOP_GRACE_SECONDS)

    def _hold(self, held: bool) -> None:
        gained = held and not self.lease_held
        self.lease_held = held
        if gained:
            logger.info("this process has the lease, and makes the snapshots from now on")
            self._lease_gained()
            self._worker.warm()

    def _give_work(self) -> None:
        self._store.close_elapsed(self._window)
        if self._store.has_due_window():
            self._worker.process_due()
        elif self._retention_due and not self._worker.busy:
            self._retention_due = False
            self._worker.remove_old(self._on_removals)

    def _on_removals(self, removals: Removals | None) -> None:
        self._report_removals(removals)
        if removals is not None and removals.unfinished:
            self._retention_due = True

    def _run_at_the_end_of_the_lease(self) -> None:
        """Look again when another process's lease ends: of a holder that died at most two heartbeats are missed."""
        rest = self._lease.ends_in() + PAST_THE_END
        if rest < self._interval:
            self._run_again_in(max(rest, PAST_THE_END))


MAX_ANSWER_SECONDS = 2.0


class StatusProbe:
    """Looks at what surrounds the API: Evidently UI, the lease, the progress of the snapshots, who reads the log.

    ``progress`` returns how far the snapshots of each model are, with the metrics that show it. ``evidently_up`` says
    whether Evidently UI answered at the last look; None until there was one.
    """

    def __init__(
        self,
        metrics: Metrics,
        evidently_url: str,
        lease_held: Callable[[], bool],
        progress: Callable[[], Iterable[tuple[ModelMetrics, SnapshotProgress]]],
        client: httpx.Client | None = None,
        *,
        warn_of_long_reads: Callable[[], None] = lambda: None,
    ) -> None:
        self._metrics = metrics
        self._version_url = f"{evidently_url.rstrip('/')}/api/version"
        self._lease_held = lease_held
        self._progress = progress
        self._warn_of_long_reads = warn_of_long_reads
        self._client = client or httpx.Client(timeout=MAX_ANSWER_SECONDS, trust_env=False)
        self.evidently_up: bool | None = None

    def look(self) -> None:
        """Look once."""
        held = False
        try:
            for metrics, progress in self._progress():
                metrics.observe_progress(progress)
            held = self._lease_held()
            self._warn_of_long_reads()
        except LogUnavailable as error:
            logger.debug("the log could not be read: %s", error)  # requests and health checks say it loudly
        self.evidently_up = self._evidently_answers()
        self._metrics.observe_status(time.time(), lease_held=held, evidently_up=self.evidently_up)

    def close(self) -> None:
        """Close the connection to Evidently UI."""
        self._client.close()

    def _evidently_answers(self) -> bool:
        try:
            return self._client.get(self._version_url).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
