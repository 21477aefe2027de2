"""Whose bodies are held in memory while clients send slowly: raw sockets against a served API."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from select import select
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.middleware.admission import MAX_BODIES
from api.settings import Settings
from tests.in_process import serving

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    with serving(create_app(settings)) as port:
        yield port


def upload(stack: ExitStack, port: int, declared: int | None, sent: int) -> socket.socket:
    """Begin to send a body, of a declared size or in chunks, and stop after ``sent`` bytes."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    if declared is None:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (sent, b" " * sent))
    else:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (declared, b" " * sent))
    return connection


def answered(connections: list[socket.socket]) -> list[bytes]:
    """The answers that have come so far."""
    return [connection.recv(65_536) for connection in select(connections, [], [], 0)[0]]


def predict(port: int, row: dict[str, Any]) -> int:
    return httpx.post(f"http://127.0.0.1:{port}/predict", json=row, headers={"Host": "x"}, timeout=20).status_code


@pytest.mark.parametrize("declared", [50_000, None])
def test_bodies_count_by_what_has_come_of_them(port: int, setosa: dict[str, Any], declared: int | None) -> None:
    with ExitStack() as stack:
        slow = [upload(stack, port, declared, sent=10) for _ in range(8 * MAX_BODIES)]
        for _ in range(20):
            assert predict(port, setosa) == 200
        assert answered(slow) == []  # they have time


@pytest.mark.parametrize("declared", [50_000, None])
def test_bodies_that_do_not_end_give_way_to_others(
    port: int, setosa: dict[str, Any], settings: Settings, declared: int | None
) -> None:
    sent = 49_900
    with ExitStack() as stack:
        slow = []
        for _ in range(3 * MAX_BODIES):
            slow.append(upload(stack, port, declared, sent))
            assert predict(port, setosa) == 200
        answers = answered(slow)
        # the memory of those that may go on is bounded
        assert (len(slow) - len(answers)) * sent <= MAX_BODIES * settings.max_body_bytes
        assert len(answers) == 2 * MAX_BODIES
        assert [connection for connection in slow if connection in select(slow, [], [], 0)[0]] == slow[: len(answers)]
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in answer.lower()
            assert b"connection: close" in answer.lower()
            assert b"took too long while others needed the memory" in answer


def test_a_body_that_gave_way_leaves_room(port: int, setosa: dict[str, Any]) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            slow = [upload(stack, port, 50_000, sent=40_000) for _ in range(2 * MAX_BODIES)]
            for connection in slow:
                with suppress(OSError):
                    connection.close()
        assert predict(port, setosa) == 200
        late = upload(stack, port, 50_000, sent=40_000)
        late.sendall(b" " * 10_000)
        assert late.recv(65_536).startswith(b"HTTP/1.1 422 ")  # read to its end: there is no JSON in it


def test_what_is_read_of_a_too_large_body_takes_nobody_s_memory(port: int) -> None:
    with ExitStack() as stack:
        honest = upload(stack, port, 50_000, sent=40_000)
        for _ in range(2 * MAX_BODIES):
            upload(stack, port, 8 * 50_000, sent=7 * 50_000)
        honest.sendall(b" " * 10_000)
        assert honest.recv(65_536).startswith(b"HTTP/1.1 422 ")
