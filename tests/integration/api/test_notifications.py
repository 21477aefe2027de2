"""From drifted windows to a person's chat without Alertmanager: real processes, of which one is killed."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue
from signal import SIGKILL
from typing import Any

import httpx
import pandas as pd
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.integration.api.conftest import ApiProcess, Caller


class Chat:
    """Gets the messages."""

    def __init__(self, server: HTTPServer) -> None:
        self.address = server.url_for("/hidden-chat").replace("http://", "json://vigie:hidden@")
        self.came: Queue[dict[str, Any]] = Queue()
        server.expect_request("/hidden-chat", method="POST").respond_with_handler(self._take)

    def next(self) -> dict[str, Any]:
        return self.came.get(timeout=60)

    def _take(self, request: Request) -> Response:
        self.came.put(request.get_json())
        return Response()


@pytest.fixture
def chat(httpserver: HTTPServer) -> Chat:
    return Chat(httpserver)


@pytest.fixture
def processes(iris_artifact: Path, tmp_path: Path, ui_port: int, chat: Chat) -> Iterator[list[ApiProcess]]:
    """Two API processes on one log; the first has the lease."""
    (tmp_path / "urls").write_text(f"{chat.address}\n")
    settings = {"VIGIE_NOTIFY_URLS_FILE": str(tmp_path / "urls"), "VIGIE_ALERT_REPEAT_SECONDS": "0.5"}
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        shared = {"VIGIE_DATABASE_URL": f"sqlite:///{tmp_path}/vigie.db", "VIGIE_EVIDENTLY_PROJECT": tmp_path.name}
        found.append(ApiProcess(folder, iris_artifact, ui_port, **settings, **shared))
        found[-1].start()
    yield found
    for process in found:
        if not process.ended():
            process.stop()


def send_windows(url: str, pool: pd.DataFrame, number: int, shift: float) -> None:
    caller = Caller(url, pool)
    with closing(caller.http):
        for seed in range(number):
            caller.send(200, seed=seed, shift=shift, labelled=False)
            window = caller.awaited(caller.close_window(), {"posted", "skipped"}, seconds=200)
            assert window["status"] == "posted"


def test_drift_and_its_end_are_told_once_each_though_the_process_that_told_was_killed(
    processes: list[ApiProcess], chat: Chat, pool: pd.DataFrame
) -> None:
    one, two = processes
    send_windows(one.url, pool, 2, shift=2.0)
    began = chat.next()
    assert re.fullmatch(r"iris: .*data drift.* began", began["title"])
    report = re.search(r"^Report of .*: (\S+)$", began["message"], re.MULTILINE)
    assert report is not None
    assert httpx.get(report[1]).status_code == 200
    page = httpx.get(two.url).text
    assert "<b>Notifications</b> the last one was sent" in page

    one.stop(SIGKILL)
    send_windows(two.url, pool, 2, shift=0.0)
    over = chat.next()
    while "still there" in over["title"]:  # one check may end a window before the other
        over = chat.next()
    assert over["title"].endswith(" over")
    assert chat.came.empty()
    for process in processes:
        assert "hidden" not in process.log()
    for path in ("/", "/model", "/metrics", "/snapshots"):
        assert "hidden" not in httpx.get(f"{two.url}{path}").text
    assert 'vigie_notifications_total{outcome="failed"} 0.0' in httpx.get(f"{two.url}/metrics").text
