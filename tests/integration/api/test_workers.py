"""One API of two processes: the metrics of both, one scheduler, and nothing left when it stops."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import httpx
import pandas as pd
import pytest

from tests.integration.api.conftest import ApiProcess, Caller
from tests.integration.api.test_faults import SETOSA, await_end_of, snapshots_of


@pytest.fixture
def two_workers(iris_artifact: Path, tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, iris_artifact, ui_port, VIGIE_WORKERS="2")
    process.start()
    yield process
    if not process.ended():
        process.stop()


def counted(api: ApiProcess, name: str) -> float:
    lines = httpx.get(f"{api.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def test_every_worker_s_requests_are_counted_whichever_is_scraped(two_workers: ApiProcess) -> None:
    for _ in range(40):  # a connection each, so that both workers get some
        assert httpx.post(f"{two_workers.url}/predict", json=SETOSA, timeout=30).status_code == 200
    assert {counted(two_workers, "vigie_predicted_rows_total") for _ in range(10)} == {40.0}
    deadline = monotonic() + 30
    while counted(two_workers, "vigie_snapshot_lease_held") != 1 and monotonic() < deadline:
        sleep(0.1)
    assert counted(two_workers, "vigie_snapshot_lease_held") == 1


def test_two_workers_take_each_window_once_and_stop_cleanly(
    two_workers: ApiProcess, pool: pd.DataFrame, ui_port: int
) -> None:
    caller = Caller(two_workers.url, pool)
    with closing(caller.http):
        caller.send(100)
        window = caller.snapshot()
        assert window["status"] == "posted"
        assert snapshots_of(ui_port, window) == 1
    with closing(sqlite3.connect(two_workers.database)) as log:
        assert log.execute("SELECT count(*) FROM lease").fetchone() == (1,)
    children = two_workers.children()
    assert len(children) >= 2
    assert two_workers.stop() == 0
    await_end_of(children)
