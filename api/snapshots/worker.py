"""Owns the worker process: one, warm, replaced when it dies, never waited for by a request."""

import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from api.snapshots.job import JobConfig, prepare_worker, remove_old, take_due_snapshots, warm_up
from api.snapshots.removals import Removals

logger = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


class SnapshotWorker:
    """A pool of one spawned process that takes the due windows, or removes what is old, when told to.

    ``report`` is told the outcome of each window, and "worker_failed" when the process died. A job that takes longer
    than ``limit_seconds`` hangs, so its process is replaced.
    """

    def __init__(self, config: JobConfig, report: Callable[[str], None], limit_seconds: float) -> None:
        self._config = config
        self._report = report
        self._limit_seconds = limit_seconds
        self._began = 0.0
        self._pool: ProcessPoolExecutor | None = None
        self._job: Future[Any] | None = None
        self._children: list[multiprocessing.process.BaseProcess] = []
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether a job is under way; asking ends one that hangs."""
        if self._job is None or self._job.done():
            return False
        if monotonic() - self._began > self._limit_seconds:
            logger.error("the snapshot worker has been at it for over %g s, so it is replaced", self._limit_seconds)
            self._kill()
        return True

    def warm(self) -> None:
        """Start the process and let it import what it needs, so that the first window does not wait for that."""
        self._submit(partial(warm_up, self._config)).add_done_callback(self._on_windows)

    def take_due(self) -> None:
        """Have due windows taken, unless the worker is busy."""
        if not self.busy:
            self._begin(partial(take_due_snapshots, self._config)).add_done_callback(self._on_windows)

    def remove_old(self, done: Callable[[Removals | None], None]) -> None:
        """Have what is old removed, unless the worker is busy; ``done`` is told what, or None where it failed."""
        if not self.busy:
            self._begin(partial(remove_old, self._config)).add_done_callback(partial(self._on_removals, done))

    def stop(self, grace_seconds: float) -> None:
        """Let the window under way finish within the grace, then end the process.

        A window that is cut off stays marked as running; the next holder of the lease takes it again.
        """
        if self._pool is None:
            return
        self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._job is not None and not self._job.done():
            try:
                self._job.result(grace_seconds)
            except FutureTimeoutError:
                logger.warning("the window under way is cut off; it will be taken again")
            except BrokenProcessPool:
                logger.warning("the snapshot worker had died")
        self._kill()
        self._pool.shutdown(wait=True)
        self._pool = None

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    def _begin(self, task: Callable[[], Outcome]) -> Future[Outcome]:
        job = self._submit(task)
        self._job, self._began = job, monotonic()
        return job

    def _submit(self, task: Callable[[], Outcome]) -> Future[Outcome]:
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

    def _on_windows(self, job: Future[list[str]]) -> None:
        if not job.cancelled() and not self._stopping:
            for outcome in ["worker_failed"] if self._failed(job) else job.result():
                self._report(outcome)

    def _on_removals(self, done: Callable[[Removals | None], None], job: Future[Removals]) -> None:
        if not job.cancelled() and not self._stopping:
            done(None if self._failed(job) else job.result())

    def _failed(self, job: Future[Any]) -> bool:
        error = job.exception()
        if error is not None:
            logger.error("the snapshot worker failed: %r", error)
        return error is not None
