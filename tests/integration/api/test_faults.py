"""What happens when a part dies: nothing that was acknowledged is lost, and no window is posted twice."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from signal import SIGINT, SIGKILL
from time import monotonic, sleep

import httpx
import pandas as pd
import pytest

from tests.integration.api.conftest import ApiProcess, Caller
from tests.integration.conftest import evidently_ui
from tests.servers import free_port

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def caller_of(pool: pd.DataFrame) -> "type[Caller]":
    return type("CallerOf", (Caller,), {"__init__": lambda self, url: Caller.__init__(self, url, pool)})


def logged_ids(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM predictions")]


def snapshots_of(ui_port: int, window: dict[str, str]) -> int:
    """How often Evidently UI has the window's snapshot."""
    project = window["evidently_url"].split("/projects/")[1].split("/")[0]
    found = httpx.get(f"http://127.0.0.1:{ui_port}/api/projects/{project}/snapshots").raise_for_status().json()
    return [item["metadata"]["window"] for item in found].count(f"{window['start']}/{window['end']}")


def test_a_killed_api_has_every_acknowledged_prediction_in_its_log_once(api: ApiProcess) -> None:
    acknowledged: list[str] = []

    def predict_until_it_dies() -> None:
        with httpx.Client(base_url=api.url, timeout=5) as client:
            while True:
                try:
                    acknowledged.append(client.post("/predict", json=SETOSA).raise_for_status().json()["prediction_id"])
                except httpx.HTTPError:
                    return

    callers = [threading.Thread(target=predict_until_it_dies) for _ in range(4)]
    for caller in callers:
        caller.start()
    deadline = monotonic() + 30
    while len(acknowledged) < 200 and monotonic() < deadline:
        sleep(0.01)
    api.stop(SIGKILL)
    for caller in callers:
        caller.join()
    assert len(acknowledged) >= 200
    ids = logged_ids(api.database)
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
    api.start()
    assert httpx.post(f"{api.url}/predict", json=SETOSA).status_code == 200


def test_a_worker_killed_in_the_middle_of_a_window_costs_nothing(
    api: ApiProcess, ui_port: int, caller_of: "type[Caller]"
) -> None:
    caller = caller_of(api.url)
    with closing(caller.http):
        caller.send(100)
        start = caller.close_window()
        caller.awaited(start, {"running"})
        workers = [pid for pid in api.children() if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(workers) == 1
        os.kill(workers[0], SIGKILL)
        window = caller.awaited(start, {"posted"})
        assert (window["status"], window["rows"]) == ("posted", 100)
        assert snapshots_of(ui_port, window) == 1


def test_an_api_killed_in_the_middle_of_a_window_takes_it_again_once(
    api: ApiProcess, ui_port: int, caller_of: "type[Caller]"
) -> None:
    caller = caller_of(api.url)
    with closing(caller.http):
        caller.send(100)
        start = caller.close_window()
        caller.awaited(start, {"running"})
        workers = api.children()
        assert workers
        api.stop(SIGKILL)
        await_end_of(workers)
        api.start()
        window = caller.awaited(start, {"posted"})
        assert snapshots_of(ui_port, window) == 1


def test_a_window_whose_snapshot_was_posted_but_not_recorded_has_one_snapshot_all_the_same(
    api: ApiProcess, ui_port: int, caller_of: "type[Caller]"
) -> None:
    caller = caller_of(api.url)
    with closing(caller.http):
        caller.send(100)
        before = caller.snapshot()
        with closing(sqlite3.connect(api.database, timeout=10)) as database:
            # the state that a death between the post and the record leaves behind
            database.execute("UPDATE windows SET status = 'running', snapshot_id = NULL")
            database.commit()
        after = caller.awaited(before["start"], {"posted"})
        assert snapshots_of(ui_port, after) == 1
        assert after["evidently_url"] != before["evidently_url"]  # the first might have been half a snapshot


def await_start_page(caller: Caller, says: str, seconds: float = 10) -> None:
    deadline = monotonic() + seconds
    while says not in (page := caller.http.get("/").text):
        assert monotonic() < deadline, page
        sleep(0.1)


def test_windows_wait_for_an_evidently_ui_that_is_down_and_are_posted_when_it_is_back(
    iris_artifact: Path, tmp_path: Path, caller_of: "type[Caller]"
) -> None:
    port = free_port()
    api = ApiProcess(tmp_path, iris_artifact, port)
    api.start()
    caller = caller_of(api.url)
    with closing(caller.http):
        caller.send(100)
        start = caller.close_window()
        failed = caller.awaited(start, {"failed"})
        assert "no answer from Evidently UI" in failed["reason"]
        assert caller.http.get("/health/ready").status_code == 200
        await_start_page(caller, "<b>Evidently UI</b> does not answer")
        caller.send(10)
        with evidently_ui(tmp_path, port):
            with closing(sqlite3.connect(api.database, timeout=10)) as database:
                database.execute("UPDATE windows SET retry_at = 0")  # the waits doubled while the UI started
                database.commit()
            window = caller.awaited(start, {"posted"})
            assert window["reason"] is None
            await_start_page(caller, "<b>Evidently UI</b> answers")
            assert snapshots_of(port, window) == 1
            assert api.stop(SIGINT) == 0


def test_a_stopped_api_leaves_no_process_behind(api: ApiProcess) -> None:
    deadline = monotonic() + 30
    while not api.children() and monotonic() < deadline:
        sleep(0.05)
    workers = api.children()
    assert workers
    assert api.stop() == 0
    await_end_of(workers)


def await_end_of(pids: list[int], seconds: float = 20) -> None:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return
        sleep(0.05)
    raise TimeoutError(f"still running: {pids}")
