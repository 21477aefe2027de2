"""The worker process: one, warm, replaced when it dies, never waited for by a request."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from api.log_output import log_to_stderr
from api.snapshots.retention_tiers import Removals

if TYPE_CHECKING:  # the process that starts the worker does not import what measures
    from api.snapshots.project import HealthProject
    from api.snapshots.retention import RetentionOfModels
    from api.snapshots.window_job import DueWindows

logger = logging.getLogger(__name__)

NICENESS = 10
"""Lowers the worker's priority: where both want the same core, the API gets nine tenths of it."""
MAX_RETENTION_SECONDS = 10.0
RETENTION_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the worker process works with."""

    projects: "Callable[[], Iterable[HealthProject]]"
    windows: "DueWindows"
    retention: "RetentionOfModels"
    windows_per_heartbeat: int
    retention_seconds: float


Outcome = tuple[int, str]
"""Of a window: the id of its model, and what became of it."""
BuildContext = Callable[[], WorkerContext]
"""Returns the context that the worker process keeps; it is sent to that process by reference."""


def retention_seconds(heartbeat: timedelta) -> float:
    """Return how long one run of retention may last; what is left waits for the next heartbeat.

    A run that ends shortly before a heartbeat goes on at once, while one that ends after it would rest until the next.
    """
    return min(RETENTION_SHARE * heartbeat.total_seconds(), MAX_RETENTION_SECONDS)


def prepare_worker() -> None:
    """Make this process the worker: it leaves signals to its parent, and ends when its parent does."""
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    os.nice(NICENESS)
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently reports its use otherwise
    log_to_stderr()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def warm_up(build: BuildContext) -> list[Outcome]:
    """Import what a snapshot needs and show the projects in Evidently UI; no window is touched, so no outcome."""
    context = build()
    context.windows.warm()
    for project in context.projects():
        if not project.show():
            break
    return []


def process_due_windows(build: BuildContext) -> list[Outcome]:
    """Process a heartbeat's share of the due windows, oldest first, and return the outcome of each."""
    context = build()
    return context.windows.process(context.windows_per_heartbeat)


def remove_old(build: BuildContext) -> Removals:
    """Remove some of what is old, and return what that was; nothing while another process is removing."""
    context = build()
    return context.retention.run(context.retention_seconds) or Removals()


Found = TypeVar("Found")


class SnapshotWorker:
    """A pool of one spawned process that processes the due windows, or removes what is old, when told to.

    ``report`` is called with the model's id and the outcome of each window, and with None and "worker_failed" when the
    process died. A job that takes longer than ``limit_seconds`` hangs, so its process is replaced.
    """

    def __init__(self, build: BuildContext, report: Callable[[int | None, str], None], limit_seconds: float) -> None:
        self._build = build
        self._report = report
        self._limit_seconds = limit_seconds
        self._began = 0.0
        self._pool: ProcessPoolExecutor | None = None
        self._job: Future[Any] | None = None
        self._children: list[multiprocessing.process.BaseProcess] = []
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether a job is under way; a job that hangs is ended by this call."""
        if self._job is None or self._job.done():
            return False
        if monotonic() - self._began > self._limit_seconds:
            logger.error("the snapshot worker has worked for more than %g s, so it is replaced", self._limit_seconds)
            self._kill()
        return True

    def warm(self) -> None:
        """Start the process and let it import what it needs, so that the first window does not wait for that."""
        self._submit(partial(warm_up, self._build)).add_done_callback(self._on_windows)

    def process_due(self) -> None:
        """Have due windows processed, unless the worker is busy."""
        if not self.busy:
            self._begin(partial(process_due_windows, self._build)).add_done_callback(self._on_windows)

    def remove_old(self, done: Callable[[Removals | None], None]) -> None:
        """Have what is old removed, unless the worker is busy; ``done`` gets what it was, or None after a failure."""
        if not self.busy:
            self._begin(partial(remove_old, self._build)).add_done_callback(partial(self._on_removals, done))

    def stop(self, grace_seconds: float) -> None:
        """Let the window under way finish within the grace, then end the process.

        A window that is cut off stays marked as running; the next holder of the lease processes it again.
        """
        if self._pool is None:
            return
        self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._job is not None and not self._job.done():
            try:
                self._job.result(grace_seconds)
            except FutureTimeoutError:
                logger.warning("the window under way is cut off; it will be processed again")
            except BrokenProcessPool:
                logger.warning("the snapshot worker had died")
        self._kill()
        self._pool.shutdown(wait=True)
        self._pool = None

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    def _begin(self, task: Callable[[], Found]) -> Future[Found]:
        job = self._submit(task)
        self._job, self._began = job, monotonic()
        return job

    def _submit(self, task: Callable[[], Found]) -> Future[Found]:
        try:
            job = self._processes().submit(task)
        except BrokenProcessPool:
            self._pool = None
            job = self._processes().submit(task)
        self._children = [child for child in multiprocessing.active_children() if child.name.startswith("Spawn")]
        return job

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=prepare_worker)
        return self._pool

    def _on_windows(self, job: Future[list[Outcome]]) -> None:
        if not job.cancelled() and not self._stopping:
            for model_id, outcome in [(None, "worker_failed")] if self._failed(job) else job.result():
                self._report(model_id, outcome)

    def _on_removals(self, done: Callable[[Removals | None], None], job: Future[Removals]) -> None:
        if not job.cancelled() and not self._stopping:
            done(None if self._failed(job) else job.result())

    def _failed(self, job: Future[Any]) -> bool:
        error = job.exception()
        if error is not None:
            logger.error("the snapshot worker failed: %r", error)
        return error is not None
