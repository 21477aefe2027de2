"""What the API says while its log cannot take rows, and that it needs no restart when it can again."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep

import httpx
import pytest

from api.prediction_log.sqlite import MIN_FREE_BYTES
from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import NOBODY, SETOSA, logged_rows
from tests.postgres import MISSING, PostgresServer, fresh_database, postgres_programs, server_folder
from tests.servers import free_port

DISK_BYTES = MIN_FREE_BYTES + 12 * 1024 * 1024
BATCH = {"rows": [SETOSA] * 1000}


@contextmanager
def running(api: ApiProcess) -> Iterator[httpx.Client]:
    api.start()
    try:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            yield client
    finally:
        if not api.ended():
            api.stop(SIGKILL)


def await_status(client: httpx.Client, path: str, status: int, seconds: float = 60) -> httpx.Response:
    deadline = monotonic() + seconds
    while (answer := client.get(path)).status_code != status:
        assert monotonic() < deadline, f"{path} still answers {answer.status_code}: {answer.text}"
        sleep(0.05)
    return answer


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert "prediction log" in answer.json()["detail"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, of this test alone."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_gets_503_and_room_on_it_is_used_without_a_restart(
    small_disk: Path, iris_artifact: Path, tmp_path: Path
) -> None:
    database = f"sqlite:///{small_disk}/log.db"
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=database, VIGIE_SNAPSHOTS="false")
    with running(api) as client:
        acknowledged: list[str] = []

        def fill() -> httpx.Response:
            while (answer := client.post("/predict/batch", json=BATCH)).status_code == 200:
                acknowledged.extend(item["prediction_id"] for item in answer.json()["predictions"])
            return answer

        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * MIN_FREE_BYTES)
        assert_refused(fill())
        assert "full" in client.post("/predict/batch", json=BATCH).json()["detail"]
        assert_refused(await_status(client, "/health/ready", 503))
        assert client.get("/health/live").status_code == 200
        ballast.unlink()
        await_status(client, "/health/ready", 200)
        answer = client.post("/predict/batch", json=BATCH).raise_for_status()
        acknowledged.extend(item["prediction_id"] for item in answer.json()["predictions"])
        assert api.stop() == 0
    assert sorted(key for key, _ in logged_rows(database)) == sorted(acknowledged)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    if postgres_programs() is None:
        pytest.skip(MISSING)
    folder = server_folder()
    server = PostgresServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


def test_a_stopped_database_gets_503_and_is_used_again_when_it_is_back(
    server: PostgresServer, iris_artifact: Path, tmp_path: Path
) -> None:
    database = fresh_database(server.url, "log")
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=database, VIGIE_SNAPSHOTS="false")
    with running(api) as client:
        first = client.post("/predict", json=SETOSA).raise_for_status().json()["prediction_id"]
        server.stop()
        assert_refused(client.post("/predict", json=SETOSA))
        assert_refused(await_status(client, "/health/ready", 503))
        assert_refused(client.post("/feedback", json={"labels": [{"prediction_id": first, "label": "setosa"}]}))
        assert client.get("/health/live").status_code == 200
        server.start()
        await_status(client, "/health/ready", 200)
        second = client.post("/predict", json=SETOSA).raise_for_status().json()["prediction_id"]
        assert {key for key, _ in logged_rows(database)} == {first, second}


@pytest.fixture
def late_server() -> Iterator[PostgresServer]:
    """A server that the test starts."""
    if postgres_programs() is None:
        pytest.skip(MISSING)
    folder = server_folder()
    yield PostgresServer(folder)
    shutil.rmtree(folder)


def await_line(api: ApiProcess, text: str, seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while text not in api.log():
        assert monotonic() < deadline, api.log()
        sleep(0.05)


def test_an_api_that_starts_before_its_database_waits_for_it_and_says_what_is_missing(
    late_server: PostgresServer, iris_artifact: Path, tmp_path: Path
) -> None:
    url = f"{late_server.url}/log"
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=url, VIGIE_SNAPSHOTS="false")
    api.launch("/health/live")
    try:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            for answer in (client.get("/health/ready"), client.post("/predict", json=SETOSA)):
                assert_refused(answer)
                assert "Connection refused" in answer.json()["detail"]
            assert_refused(client.get("/snapshots"))
            late_server.start()
            try:
                await_line(api, 'database "log" does not exist')
                assert client.get("/health/live").status_code == 200
                database = fresh_database(late_server.url, "log")
                await_status(client, "/health/ready", 200)
                logged = client.post("/predict", json=SETOSA).raise_for_status().json()["prediction_id"]
                assert {key for key, _ in logged_rows(database)} == {logged}
                assert api.stop() == 0
            finally:
                late_server.stop()
        assert "Traceback" not in api.log()
    finally:
        if not api.ended():
            api.stop(SIGKILL)


def test_an_api_that_waits_for_its_database_can_be_stopped(iris_artifact: Path, tmp_path: Path) -> None:
    url = f"postgresql://vigie@127.0.0.1:{free_port()}/log"
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=url, VIGIE_SNAPSHOTS="false")
    api.launch("/health/live")
    await_line(api, "the API is not ready, and tries again in 1 s: the prediction log does not answer")
    assert api.stop() == 0
    assert "Traceback" not in api.log()


def test_a_database_that_hangs_gets_503_in_bounded_time_and_is_used_again(
    server: PostgresServer, iris_artifact: Path, tmp_path: Path
) -> None:
    database = fresh_database(server.url, "log")
    api = ApiProcess(
        tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=database, VIGIE_SNAPSHOTS="false",
        VIGIE_LOG_TIMEOUT_SECONDS="1",
    )  # fmt: skip
    with running(api) as client:
        client.post("/predict", json=SETOSA).raise_for_status()
        server.signal(signal.SIGSTOP)
        try:
            assert_refused(client.post("/predict", json=SETOSA))
            assert_refused(client.post("/predict", json=SETOSA))
            assert_refused(await_status(client, "/health/ready", 503))
            assert client.get("/health/live").status_code == 200
        finally:
            server.signal(signal.SIGCONT)
        await_status(client, "/health/ready", 200)
        acknowledged = client.post("/predict", json=SETOSA).raise_for_status().json()["prediction_id"]
        assert acknowledged in {key for key, _ in logged_rows(database)}
