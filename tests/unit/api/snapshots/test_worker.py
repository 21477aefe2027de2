"""What becomes of a worker process that hangs."""

import multiprocessing
import signal
from concurrent.futures import Future
from time import sleep
from typing import Any, cast

import pytest

from api.snapshots.worker import SnapshotWorker, WorkerConfig


@pytest.mark.parametrize(("limit_seconds", "killed"), [(0.0, True), (3600.0, False)])
def test_a_worker_that_is_at_a_job_for_too_long_is_killed(limit_seconds: float, killed: bool) -> None:
    hanging = multiprocessing.get_context("spawn").Process(target=sleep, args=(3600,))
    hanging.start()
    worker = SnapshotWorker(cast("WorkerConfig", None), lambda _outcome: None, limit_seconds)
    under_way: Future[Any] = Future()
    worker._job, worker._children = under_way, [hanging]
    try:
        worker.process_due()
        if killed:
            hanging.join(30)
            assert hanging.exitcode == -signal.SIGKILL
        assert hanging.is_alive() is not killed
        assert worker.busy
        under_way.set_result([])
        assert not worker.busy
    finally:
        hanging.kill()
        hanging.join()
