import re
import socket
from uuid import UUID

import pytest
from pytest_httpserver import HTTPServer
from werkzeug.datastructures import Headers

from evidently_workspace.client import SECRET_HEADER, EvidentlyClient, project_id_for
from evidently_workspace.errors import EvidentlyError, EvidentlyRejected, EvidentlyUnavailable

PROJECT = UUID(int=1)


@pytest.fixture
def answering(httpserver: HTTPServer):
    """Give every request the same answer, and return the address."""

    def answer(status: int, body: bytes = b"{}") -> str:
        httpserver.expect_request(re.compile(".*")).respond_with_data(body, status)
        return httpserver.url_for("").rstrip("/")

    return answer


def last_headers(httpserver: HTTPServer) -> Headers:
    return httpserver.log[-1][0].headers


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
    with EvidentlyClient(answering(status), None) as client, pytest.raises(error, match=f"(?i){words}") as caught:
        client.post_snapshot(PROJECT, b"{}")
    assert isinstance(caught.value, EvidentlyError)


def test_an_answer_that_is_not_json_is_rejected(answering):
    with (
        EvidentlyClient(answering(200, b"<html>"), None) as client,
        pytest.raises(EvidentlyRejected, match="is it an Evidently UI"),
    ):
        client.snapshots_by_window(PROJECT)


def test_json_of_another_shape_is_rejected(answering):
    with (
        EvidentlyClient(answering(200, b'{"status": "ok"}'), None) as client,
        pytest.raises(EvidentlyRejected, match="unexpected"),
    ):
        client.post_snapshot(PROJECT, b"{}")


def test_the_secret_goes_into_the_header_that_evidently_reads(answering, httpserver):
    with EvidentlyClient(answering(200, b"[]"), "open sesame") as client:
        client.snapshots_by_window(PROJECT)
    assert last_headers(httpserver)[SECRET_HEADER] == "open sesame"


def test_without_a_secret_there_is_no_header(answering, httpserver):
    with EvidentlyClient(answering(200, b"[]"), None) as client:
        client.snapshots_by_window(PROJECT)
    assert SECRET_HEADER not in last_headers(httpserver)
