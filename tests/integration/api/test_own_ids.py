"""Own ids when the API is killed: what was committed is answered as it was logged, and no row is logged twice."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import NOBODY, SETOSA, logged_rows

KILLS = 3
CALLERS = 4


@pytest.fixture
def api(iris_artifact: Path, tmp_path: Path, database_url: str) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=database_url, VIGIE_SNAPSHOTS="false")
    process.start()
    yield process
    if not process.ended():
        process.stop(SIGKILL)


def send(url: str, number: int) -> httpx.Response:
    row = SETOSA | {"sepal_length": 4 + number / 1000}
    return httpx.post(f"{url}/predict", params={"prediction_id": f"p{number}"}, json=row, timeout=30, trust_env=False)


class Caller(threading.Thread):
    """Sends one id after another; each until it was answered twice."""

    def __init__(self, url: str, first: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.answers: dict[int, set[bytes]] = {}
        self._url, self._first, self._stop_asked = url, first, stop

    def run(self) -> None:
        for number in range(self._first, 1_000_000, CALLERS):
            self.answers[number] = {self._answer(number), self._answer(number)}
            if self._stop_asked.is_set():
                return

    def _answer(self, number: int) -> bytes:
        while True:
            try:
                answer = send(self._url, number)
            except httpx.HTTPError:
                sleep(0.02)
                continue
            if answer.status_code == httpx.codes.OK:
                return answer.content


def test_a_caller_that_repeats_until_it_is_answered_has_each_row_logged_once(api: ApiProcess) -> None:
    stop = threading.Event()
    callers = [Caller(api.url, first, stop) for first in range(CALLERS)]
    for caller in callers:
        caller.start()
    for kill in range(KILLS):
        enough = sum(len(caller.answers) for caller in callers) + 40 + 7 * kill
        await_true(lambda least: sum(len(caller.answers) for caller in callers) >= least, enough)
        api.stop(SIGKILL)
        api.start()
    stop.set()
    for caller in callers:
        caller.join(60)
    answers = {number: found for caller in callers for number, found in caller.answers.items()}
    assert sorted(key for key, _ in logged_rows(api.database_url)) == sorted(f"p{number}" for number in answers)
    assert {len(found) for found in answers.values()} == {1}, "each repeat had the same bytes"


def test_killed_between_commit_and_response_the_row_is_answered_from_the_log(api: ApiProcess) -> None:
    answered: list[Any] = []

    def call() -> None:
        try:
            answered.append(send(api.url, 1).content)
        except httpx.HTTPError as error:
            answered.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    await_true(lambda url: logged_rows(url) != [], api.database_url)
    api.stop(SIGKILL)
    caller.join(60)
    api.start()
    again = send(api.url, 1)
    assert again.status_code == 200
    assert [key for key, _ in logged_rows(api.database_url)] == ["p1"]
    assert send(api.url, 1).content == again.content
    if isinstance(answered[0], bytes):  # the response was faster than the kill
        assert again.content == answered[0]


def await_true(condition: Callable[[Any], bool], value: Any, seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not condition(value):
        assert monotonic() < deadline
        sleep(0.002)
