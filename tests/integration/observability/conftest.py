"""Real Prometheus, Alertmanager and node-exporter processes, and a real receiver of what they tell."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeVar

import httpx
import pytest

from tests.servers import Server

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
def running(command: list[str], folder: Path, ready_url: str) -> Iterator[Server]:
    """A real process for as long as the block lasts, once it answers at the address; stopped by its pid."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"no {command[0]} on this machine (Debian: apt-get install {command[0]})")
    log = folder / f"{Path(program).name}.log"
    process = Server([program, *command[1:]], log, cwd=folder)
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
    # what fires before the first Alertmanager is discovered is told again, by default after a minute
    command += [f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"]
    with running(command, folder, f"http://127.0.0.1:{port}/-/ready"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, config: Path, port: int) -> Iterator[str]:
    """A real Alertmanager on a configuration; its address."""
    command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder / 'alerts'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with running(command, folder, f"http://127.0.0.1:{port}/-/ready"):
        yield f"http://127.0.0.1:{port}"


class Receiver:
    """What a webhook was told, by the path that it was told at."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def told(self, path: str, status: str, **labels: str) -> dict[str, Any] | None:
        """Return the alert that has the labels, if it was told so."""
        for at, message in list(self.messages):
            for alert in message["alerts"]:
                if at == path and labels.items() <= alert["labels"].items() and alert["status"] == status:
                    found: dict[str, Any] = alert
                    return found
        return None


@contextmanager
def http_server(answer: Callable[[str, bytes], tuple[int, str]], port: int = 0) -> Iterator[int]:
    """A small HTTP server on a thread; ``answer`` gets path and body. Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            status, text = answer(self.path, self.rfile.read(length))
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 - the base class looks for this name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    messages: list[tuple[str, dict[str, Any]]] = []

    def take(path: str, body: bytes) -> tuple[int, str]:
        messages.append((path, json.loads(body)))
        return 200, ""

    with http_server(take) as port:
        receiver = Receiver(port)
        receiver.messages = messages
        yield receiver
