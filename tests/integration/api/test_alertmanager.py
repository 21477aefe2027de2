"""From drifted windows to a person's webhook, and back to quiet, through a real Alertmanager."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import Any

import httpx
import pandas as pd
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.integration.api.conftest import FEATURES, ApiProcess, Caller
from tests.servers import Server, await_answer, free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Alertmanager on this machine (Debian: apt-get install prometheus-alertmanager)"
)


class Webhook:
    """What a person's chat would be: it gets the notifications."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/chat")
        self._came: Queue[dict[str, Any]] = Queue()
        server.expect_request("/chat", method="POST").respond_with_handler(self._take)

    def awaited(self, alertname: str, status: str, seconds: float = 60) -> dict[str, Any]:
        """Return the next alert of this name and status, however many others come before."""
        deadline = monotonic() + seconds
        others = []
        while monotonic() < deadline:
            try:
                alert = self._came.get(timeout=max(deadline - monotonic(), 0.01))
            except Empty:
                break
            others.append((alert["labels"]["alertname"], alert["status"]))
            if others[-1] == (alertname, status):
                return alert
        raise TimeoutError(f"{alertname} {status} did not come, but {others}")

    def _take(self, request: Request) -> Response:
        for alert in request.get_json()["alerts"]:
            self._came.put(alert)
        return Response()


@pytest.fixture
def webhook(httpserver: HTTPServer) -> Webhook:
    return Webhook(httpserver)


@pytest.fixture
def alertmanager(webhook: Webhook, tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager that waits for next to nothing before it notifies."""
    route = {"receiver": "webhook", "group_by": ["alertname"], "group_wait": "100ms", "group_interval": "200ms"}
    receiver = {"name": "webhook", "webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
    file = tmp_path / "alertmanager.yml"
    file.write_text(json.dumps({"route": route, "receivers": [receiver]}))  # JSON is YAML
    url = f"http://127.0.0.1:{(port := free_port())}"
    assert PROGRAM is not None
    command = [PROGRAM, f"--config.file={file}", f"--storage.path={tmp_path / 'alertmanager'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = Server(command, tmp_path / "alertmanager.log")
    try:
        await_answer(f"{url}/-/ready", process)
        yield url
    finally:
        process.stop()


@pytest.fixture
def watched(iris_artifact: Path, tmp_path: Path, ui_port: int, alertmanager: str) -> Iterator[ApiProcess]:
    """An API that posts to the Alertmanager."""
    addresses = {"VIGIE_ALERTMANAGER_URL": alertmanager, "VIGIE_PUBLIC_URL": "http://vigie.example"}
    process = ApiProcess(tmp_path, iris_artifact, ui_port, **addresses)
    process.start()
    yield process
    if not process.ended():
        process.stop()


def send_windows(url: str, pool: pd.DataFrame, number: int, shift: float) -> list[dict[str, Any]]:
    """Return posted windows of drifted or quiet rows."""
    caller = Caller(url, pool)
    with closing(caller.http):
        return [window(caller, shift, seed) for seed in range(number)]


def window(caller: Caller, shift: float, seed: int) -> dict[str, Any]:
    caller.send(200, seed=seed, shift=shift)
    return caller.snapshot()


def alerts_of(alertmanager: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{alertmanager}/api/v2/alerts").raise_for_status().json()
    return found


def test_drift_that_lasts_reaches_a_person_and_so_does_its_end_though_the_api_restarts_in_between(
    watched: ApiProcess, webhook: Webhook, alertmanager: str, pool: pd.DataFrame
) -> None:
    send_windows(watched.url, pool, 1, shift=2.0)
    assert alerts_of(alertmanager) == []  # one window is none yet
    (second,) = send_windows(watched.url, pool, 1, shift=2.0)

    firing = webhook.awaited("ModelDataDrift", "firing")
    assert firing["labels"] == {
        "alertname": "ModelDataDrift",
        "check": "data_drift",
        "model": "iris",
        "severity": "warning",
    }
    assert set(firing["annotations"]["columns"].split(", ")) == set(FEATURES)
    assert firing["annotations"]["window"] == f"{second['start']}/{second['end']}"
    assert firing["annotations"]["summary"].startswith("Data drift in 2 of the last 2 windows of iris")
    assert firing["annotations"]["evidently_url"] == second["evidently_url"]
    report = firing["generatorURL"]
    assert report == firing["annotations"]["report_url"]
    assert httpx.get(report.replace("http://vigie.example", watched.url)).status_code == 200

    assert watched.stop() == 0
    watched.start()
    assert [alert["status"]["state"] for alert in alerts_of(alertmanager)] != []

    send_windows(watched.url, pool, 2, shift=0.0)
    resolved = webhook.awaited("ModelDataDrift", "resolved")
    assert resolved["fingerprint"] == firing["fingerprint"]
    assert resolved["startsAt"] == firing["startsAt"]
    assert 'vigie_alert_posts_total{outcome="unavailable"} 0.0' in httpx.get(f"{watched.url}/metrics").text
