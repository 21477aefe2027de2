"""A retrained model, taken up by running processes under load, and the windows around that."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.integration.api.conftest import ApiProcess, Caller
from tests.integration.api.traffic import traffic
from tests.retraining import retrain


@pytest.fixture
def folder(tmp_path: Path, iris_artifact: Path) -> Path:
    retrain(iris_artifact, tmp_path / "model", "v1")
    return tmp_path / "model"


@pytest.fixture
def two_workers(folder: Path, tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, folder, ui_port, VIGIE_WORKERS="2")
    process.start()
    yield process
    if not process.ended():
        process.stop()


def served(api: ApiProcess, seconds: float = 30) -> set[str]:
    """Return the versions that the workers serve, once it is one alone."""
    deadline = monotonic() + seconds
    versions: set[str] = set()
    while len(versions) != 1 and monotonic() < deadline:
        text = httpx.get(f"{api.url}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("vigie_build_info{")]
        versions = {line.split('model_version="')[1].split('"')[0] for line in lines}
        sleep(0.05)
    return versions


def snapshot_of(ui_port: int, window: dict[str, Any]) -> dict[str, Any]:
    *_, project, _, snapshot = window["evidently_url"].split("/")
    found = httpx.get(f"http://127.0.0.1:{ui_port}/api/projects/{project}/snapshots", timeout=30).json()
    return next(one for one in found if one["id"] == snapshot)


def test_both_workers_roll_under_load_and_no_request_is_lost(
    two_workers: ApiProcess, folder: Path, pool: pd.DataFrame, ui_port: int
) -> None:
    caller = Caller(two_workers.url, pool)
    with closing(caller.http):
        caller.send(100)
        assert caller.snapshot()["model_version"] == "v1"  # so the snapshot worker is there, too
    with traffic(two_workers.url, 4) as running:
        running.await_acknowledged(500)
        retrain(folder, folder, "v2")
        answer = httpx.post(f"{two_workers.url}/model/reload", timeout=30)
        assert (answer.status_code, answer.json()["model_version"]) == (200, "v2"), answer.text
        assert served(two_workers) == {"v2"}
        running.await_acknowledged(len(running.acknowledged) + 200)
        running.stop()
    assert set(running.statuses) == {HTTPStatus.OK}
    caller = Caller(two_workers.url, pool)
    with closing(caller.http):
        window = caller.snapshot()
        assert (window["status"], window["rows"] is not None) == ("posted", True)
        rows = logged_versions(two_workers, running.acknowledged)
        assert rows.keys() == {"v1", "v2"}
        assert sum(rows.values()) == len(running.acknowledged)
        measured, other = max(rows, key=lambda version: rows[version]), min(rows, key=lambda version: rows[version])
        assert (window["model_version"], window["rows"]) == (measured, rows[measured])
        stored = snapshot_of(ui_port, window)
        assert stored["tags"] == ["iris", measured]
        assert stored["metadata"]["rows_of_other_versions"] == str(rows[other])
        assert f"{rows[other]:,} rows of the window" in caller.http.get(window["report_url"]).text
        caller.send(100)
        after = caller.snapshot()
        assert (after["model_version"], after["rows"], after["labelled_rows"]) == ("v2", 100, 100)


def test_rows_from_before_a_roll_and_a_restart_are_measured_against_their_version(
    folder: Path, tmp_path: Path, ui_port: int, pool: pd.DataFrame
) -> None:
    process = ApiProcess(tmp_path, folder, ui_port, VIGIE_SNAPSHOTS="false")
    process.start()
    caller = Caller(process.url, pool)
    with closing(caller.http):
        caller.send(100)
        retrain(folder, folder, "v2")
        assert caller.http.post("/model/reload").json()["model_version"] == "v2"
        caller.send(40)
    process.stop(SIGKILL)
    after = ApiProcess(tmp_path, folder, ui_port)
    after.start()
    caller = Caller(after.url, pool)
    with closing(caller.http):
        window = caller.snapshot()
        stored = snapshot_of(ui_port, window)
    after.stop()
    assert (window["model_version"], window["rows"], window["labelled_rows"]) == ("v1", 100, 100)
    assert stored["metadata"]["rows_of_other_versions"] == "40"


VERSIONS = """
SELECT predictions.id, coalesce(row_layouts.model_version, predictions.model_version)
FROM predictions LEFT JOIN row_layouts ON row_layouts.id = predictions.layout
"""


def logged_versions(api: ApiProcess, acknowledged: list[str]) -> Counter[str]:
    """Count the acknowledged predictions by the version that the log has of each."""
    with closing(sqlite3.connect(api.database)) as log:
        versions = dict(log.execute(VERSIONS).fetchall())
    return Counter(versions[key] for key in acknowledged)
