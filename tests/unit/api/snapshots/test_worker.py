"""How the snapshot worker's process is set up, and what happens to one that hangs."""

import multiprocessing
import os
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import timedelta
from time import sleep
from typing import Any, cast

import pytest

from api.snapshots.worker import (
    MAX_RETENTION_SECONDS,
    NICENESS,
    BuildContext,
    SnapshotWorker,
    prepare_worker,
    retention_seconds,
)


def test_the_worker_has_a_lower_priority_than_the_api() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare_worker) as pool:
        assert pool.submit(os.nice, 0).result(60) == os.nice(0) + NICENESS


@pytest.mark.parametrize(("limit_seconds", "killed"), [(0.0, True), (3600.0, False)])
def test_a_worker_whose_job_takes_too_long_is_killed(limit_seconds: float, killed: bool) -> None:
    hanging = multiprocessing.get_context("spawn").Process(target=sleep, args=(3600,))
    hanging.start()
    worker = SnapshotWorker(cast("BuildContext", None), lambda _model_id, _outcome: None, limit_seconds)
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


def test_a_run_of_retention_ends_before_the_next_heartbeat_and_never_keeps_the_worker_long() -> None:
    assert retention_seconds(timedelta(seconds=5)) == 4.5
    assert retention_seconds(timedelta(seconds=0.5)) == 0.45
    assert retention_seconds(timedelta(seconds=60)) == MAX_RETENTION_SECONDS
