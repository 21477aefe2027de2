"""Real Prometheus, Alertmanager and node-exporter processes, and a receiver of what they send."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.servers import Server

ANY_PATH = re.compile(".*")
GRAFANA = "https://grafana.example:3000"
Found = TypeVar("Found")


def await_until(read: Callable[[], Found], seconds: float = 60) -> Found:
    """Return what ``read`` returns once it is true; an unreachable server is not there yet."""
    deadline = monotonic() + seconds
    last: object = None
    while monotonic() < deadline:
        try:
            found = read()
        except httpx.TransportError as error:
            last = error
        else:
            if found:
                return found
            last = found
        sleep(0.05)
    raise TimeoutError(f"not within {seconds} s; last seen: {last!r}")


@contextmanager
def running(command: list[str], folder: Path, ready_url: str, **environment: str) -> Iterator[Server]:
    """A real process for as long as the block lasts, once it answers at the address; stopped by its pid."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"no {command[0]} on this machine (Debian: apt-get install {command[0]})")
    log = folder / f"{Path(program).name}.log"
    process = Server([program, *command[1:]], log, cwd=folder, env=os.environ | environment)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            return httpx.get(ready_url, timeout=5).is_success

        await_until(answers)
        yield process
    finally:
        process.stop()


@contextmanager
def prometheus(folder: Path, config: Path, port: int) -> Iterator[str]:
    """A real Prometheus on a configuration; its address."""
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    # what fires before the first Alertmanager is discovered is sent again, by default after a minute
    command += [f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"]
    # Prometheus 3 does this without being asked
    command.append("--enable-feature=expand-external-labels")
    with running(command, folder, f"http://127.0.0.1:{port}/-/ready", VIGIE_GRAFANA_URL=GRAFANA):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, config: Path, port: int) -> Iterator[str]:
    """A real Alertmanager on a configuration; its address."""
    command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder / 'alerts'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with running(command, folder, f"http://127.0.0.1:{port}/-/ready"):
        yield f"http://127.0.0.1:{port}"


class Receiver:
    """A server to which Alertmanager sends; it keeps what came, with the path that it came to."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self._messages: list[tuple[str, dict[str, Any]]] = []
        server.expect_request(ANY_PATH, method="POST").respond_with_handler(self._keep)

    def received(self, path: str, status: str, **labels: str) -> dict[str, Any] | None:
        """Return the alert of this status that has the labels, if it came to the path."""
        for at, message in list(self._messages):
            for alert in message["alerts"]:
                if at == path and labels.items() <= alert["labels"].items() and alert["status"] == status:
                    found: dict[str, Any] = alert
                    return found
        return None

    def _keep(self, request: Request) -> Response:
        self._messages.append((request.path, request.get_json()))
        return Response()


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)
