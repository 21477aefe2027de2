"""What the API does when more comes than it can serve, or clients that send slowly or nothing."""

import asyncio
import resource
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest

from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import NOBODY, SETOSA, logged_rows

MAX_REQUESTS = 16
QUEUE_ROWS = 100
IDLE_CONNECTIONS = 10_000
FORTY = {"rows": [SETOSA] * 40}


@pytest.fixture
def api(iris_artifact: Path, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(
        tmp_path,
        iris_artifact,
        NOBODY,
        VIGIE_SNAPSHOTS="false",
        VIGIE_MAX_REQUESTS_IN_PROGRESS=str(MAX_REQUESTS),
        VIGIE_LOG_QUEUE_ROWS=str(QUEUE_ROWS),
        VIGIE_LOG_TIMEOUT_SECONDS="60",
    )
    process.start()
    yield process
    if not process.ended():
        process.stop(SIGKILL)


def refusals(answers: list[httpx.Response]) -> list[str]:
    """Return what the 503 among the answers say; each must be a problem that says when to try again."""
    refused = [answer for answer in answers if answer.status_code == 503]
    for answer in refused:
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
    return [answer.json()["detail"] for answer in refused]


async def answered_late(api: ApiProcess, path: str, bodies: list[object], refused: int) -> list[httpx.Response]:
    """Post all bodies while the log is locked, which is unlocked once that many were refused."""
    with closing(sqlite3.connect(api.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(base_url=api.url, timeout=60, limits=limits) as client:
            calls = [asyncio.create_task(client.post(path, json=body)) for body in bodies]
            for number, call in enumerate(asyncio.as_completed(calls), start=1):
                answer = await call
                assert number > refused or answer.status_code == 503, answer.text
                if number == refused:
                    assert (await client.get("/health/live")).status_code == 200
                    database.execute("ROLLBACK")
        return [call.result() for call in calls]


def test_more_requests_than_can_be_served_get_503_at_once_and_the_others_their_answer(api: ApiProcess) -> None:
    answers = asyncio.run(answered_late(api, "/predict", [SETOSA] * 200, refused=200 - MAX_REQUESTS))
    assert Counter(answer.status_code for answer in answers) == {200: MAX_REQUESTS, 503: 200 - MAX_REQUESTS}
    assert all("in progress" in detail for detail in refusals(answers))
    assert httpx.post(f"{api.url}/predict", json=SETOSA).status_code == 200
    assert len(logged_rows(api.database_url)) == MAX_REQUESTS + 1


def test_rows_past_the_queue_s_bound_get_503_and_the_queued_ones_their_answer(api: ApiProcess) -> None:
    # of 40 rows each: one group is being committed, two wait, and the others would exceed 100 rows
    answers = asyncio.run(answered_late(api, "/predict/batch", [FORTY] * 12, refused=8))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    assert statuses[503] >= 8
    assert all("wait for the prediction log" in detail for detail in refusals(answers))
    assert httpx.post(f"{api.url}/predict/batch", json=FORTY).status_code == 200
    assert len(logged_rows(api.database_url)) == 40 * (statuses[200] + 1)


def test_ten_thousand_idle_connections_leave_room_for_predictions(api: ApiProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE_CONNECTIONS + 1000:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as stack:
            for _ in range(IDLE_CONNECTIONS):
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", api.port), timeout=30)))
            for _ in range(20):
                assert httpx.post(f"{api.url}/predict", json=SETOSA, timeout=30).status_code == 200
        assert httpx.post(f"{api.url}/predict", json=SETOSA, timeout=30).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_that_send_their_body_slowly_hold_up_nobody_else(api: ApiProcess) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(3 * MAX_REQUESTS):
            slow = stack.enter_context(closing(socket.create_connection(("127.0.0.1", api.port), timeout=30)))
            slow.sendall(head)
        for _ in range(20):
            assert httpx.post(f"{api.url}/predict", json=SETOSA, timeout=30).status_code == 200


def test_a_body_that_is_too_large_is_refused_and_the_next_one_served(api: ApiProcess) -> None:
    with httpx.Client(base_url=api.url, timeout=60) as client:
        answer = client.post("/predict", content=b"[" + b" " * 17 * 1024 * 1024)
        assert answer.status_code == 413
        assert client.post("/predict", json=SETOSA).status_code == 200
