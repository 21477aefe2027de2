import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID

import pytest

from evidently_workspace.client import SECRET_HEADER, EvidentlyClient, project_id_for
from evidently_workspace.errors import EvidentlyError, EvidentlyRejected, EvidentlyUnavailable

PROJECT = UUID(int=1)


class OneAnswer(HTTPServer):
    """A server that gives every request the same answer, and remembers the last request's headers."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), self._handler(status, body))
        self.seen: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @staticmethod
    def _handler(status: int, body: bytes) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.server.seen = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def answering():
    servers = []

    def start(status: int, body: bytes = b"{}") -> OneAnswer:
        server = OneAnswer(status, body)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_same_name_is_always_the_same_project():
    assert project_id_for("iris") == project_id_for("iris") != project_id_for("wine")


def test_nobody_listening_is_unavailable_and_says_where():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        EvidentlyClient(f"http://127.0.0.1:{port}", None) as client,
        pytest.raises(EvidentlyUnavailable, match=f"127.0.0.1:{port}"),
    ):
        client.snapshots_by_window(PROJECT)


def test_a_server_that_does_not_answer_is_unavailable():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        EvidentlyClient(f"http://127.0.0.1:{listener.getsockname()[1]}", None, timeout_seconds=0.2) as client,
        pytest.raises(EvidentlyUnavailable, match="Timeout"),
    ):
        client.snapshots_by_window(PROJECT)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (500, EvidentlyUnavailable, "500"),
        (503, EvidentlyUnavailable, "503"),
        (400, EvidentlyRejected, "400"),
        (401, EvidentlyRejected, "VIGIE_EVIDENTLY_SECRET"),
        (403, EvidentlyRejected, "VIGIE_EVIDENTLY_SECRET"),
        (404, EvidentlyRejected, "is this an Evidently UI"),
        (413, EvidentlyRejected, "larger than the UI accepts"),
    ],
)
def test_a_status_tells_later_from_never(answering, status, error, words):
    with EvidentlyClient(answering(status).url, None) as client, pytest.raises(error, match=f"(?i){words}") as caught:
        client.post_snapshot(PROJECT, b"{}")
    assert isinstance(caught.value, EvidentlyError)


def test_an_answer_that_is_not_json_is_rejected(answering):
    with (
        EvidentlyClient(answering(200, b"<html>").url, None) as client,
        pytest.raises(EvidentlyRejected, match="is it an Evidently UI"),
    ):
        client.snapshots_by_window(PROJECT)


def test_json_of_another_shape_is_rejected(answering):
    with (
        EvidentlyClient(answering(200, b'{"status": "ok"}').url, None) as client,
        pytest.raises(EvidentlyRejected, match="unexpected"),
    ):
        client.post_snapshot(PROJECT, b"{}")


def test_the_secret_goes_into_the_header_that_evidently_reads(answering):
    server = answering(200, b"[]")
    with EvidentlyClient(server.url, "open sesame") as client:
        client.snapshots_by_window(PROJECT)
    assert server.seen[SECRET_HEADER] == "open sesame"


def test_without_a_secret_there_is_no_header(answering):
    server = answering(200, b"[]")
    with EvidentlyClient(server.url, None) as client:
        client.snapshots_by_window(PROJECT)
    assert SECRET_HEADER not in server.seen
