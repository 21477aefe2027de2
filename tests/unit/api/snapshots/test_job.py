"""How the snapshot worker's process is set up."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from api.snapshots.worker import NICENESS, prepare_worker


def test_the_worker_stands_back_where_the_api_wants_the_core() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare_worker) as pool:
        assert pool.submit(os.nice, 0).result(60) == os.nice(0) + NICENESS
