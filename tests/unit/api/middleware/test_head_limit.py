import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from time import monotonic, sleep

import httpx
import pytest

from api.app import create_app
from api.middleware import head_limit
from api.middleware.head_limit import MAX_HEAD_BYTES
from api.settings import Settings
from scripts.ports import is_free
from tests.in_process import serving

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Connects to an API that waits half a second for the head of a request, and as long for its body."""
    monkeypatch.setattr(head_limit, "HEAD_SECONDS", 0.5)
    with serving(create_app(settings.model_copy(update={"body_timeout_seconds": 0.5}))) as port:
        yield lambda: socket.create_connection(("127.0.0.1", port), timeout=20)


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the API closes the connection; a connection that stays open ends in a TimeoutError."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answered(connection: socket.socket) -> bytes:
    """One answer to a health check."""
    got = b""
    while not got.endswith(b'{"status":"alive"}'):
        part = connection.recv(65_536)
        assert part, got
        got += part
    return got


def dribble(connection: socket.socket) -> bytes:
    """Send a byte now and then until the API closes the connection, and return what came meanwhile."""
    parts = []
    began = monotonic()
    connection.settimeout(0.05)
    while monotonic() < began + 20:
        try:
            connection.sendall(b"a")
            part = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return b"".join(parts)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError("the connection is still open")


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"GE", GET, GET + b"X-Long: "])
def test_a_head_that_does_not_come_closes_the_connection(connect: Connect, beginning: bytes) -> None:
    with connect() as connection:
        connection.sendall(beginning)
        assert until_closed(connection) == b""


def test_a_head_that_comes_byte_by_byte_closes_the_connection(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(GET + b"X-Long: ")
        assert dribble(connection) == b""


def test_a_head_without_end_closes_the_connection(connect: Connect) -> None:
    with connect() as connection:
        try:
            connection.sendall(GET + b"X-Long: " + b"a" * 2 * MAX_HEAD_BYTES)
            got = until_closed(connection)
        except OSError:
            got = b""
        assert b"200 OK" not in got


def test_the_second_request_of_a_connection_is_limited_too(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(GET + b"\r\n")
        assert b"200 OK" in answered(connection)
        connection.sendall(GET)
        assert until_closed(connection) == b""


def test_a_connection_that_is_used_now_and_then_stays_open(connect: Connect) -> None:
    with connect() as connection:
        for _ in range(4):  # longer in all than a head may take
            connection.sendall(GET)
            connection.sendall(b"\r\n")
            assert b"200 OK" in answered(connection)
            sleep(0.2)


@contextmanager
def stopping(settings: Settings) -> Iterator[socket.socket]:
    """Yield a connection to an API that begins to stop while the connection is idle; the API has stopped after it."""
    served = serving(create_app(settings))
    port = served.__enter__()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(GET + b"\r\n")
        answered(connection)
        stop = Thread(target=served.__exit__, args=(None, None, None))
        stop.start()
        while not is_free("127.0.0.1", port):
            sleep(0.01)
        yield connection
    stop.join()


def test_a_request_that_crosses_the_stop_is_answered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_limit, "LAST_REQUEST_SECONDS", 20.0)
    with stopping(settings) as connection:
        connection.sendall(GET + b"\r\n")
        got = until_closed(connection)
    assert b"200 OK" in got
    assert b"connection: close" in got


def test_an_idle_connection_does_not_hold_up_the_stop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_limit, "LAST_REQUEST_SECONDS", 0.1)
    with stopping(settings) as connection:
        assert until_closed(connection) == b""


def test_a_body_that_does_not_come_gets_408(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(POST + b'{"sepal_length": ')
        got = until_closed(connection)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in got
    assert b"did not arrive within 0.5 s" in got


def test_what_follows_a_refusal_is_read_for_a_while_only(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(POST.replace(b"/predict", b"/nowhere") + b"{")
        assert dribble(connection).startswith(b"HTTP/1.1 404 ")


ROW = b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}'
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
CALL = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PLAIN = CALL + b"Content-Length: %d\r\n" % len(ROW)
CHUNKED = CALL + b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (20, ROW[:20], len(ROW) - 20, ROW[20:])


def answers(connection: socket.socket, count: int) -> bytes:
    """As many answers as were asked for."""
    got = b""
    while got.count(b"HTTP/1.1 ") < count or not got.endswith(b"}"):
        part = connection.recv(65_536)
        assert part, got
        got += part
    return got


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize(("head", "body"), [(PLAIN, ROW), (CHUNKED, CHUNKS)])
def test_a_request_to_upgrade_is_answered_as_if_it_were_none(
    connect: Connect, head: bytes, body: bytes, pause: bool
) -> None:
    with connect() as connection:
        for _ in range(2):  # and the connection is good for the next one
            connection.sendall(head + UPGRADE + b"\r\n" + (b"" if pause else body))
            if pause:
                sleep(0.1)
                for byte in body:
                    connection.sendall(bytes([byte]))
            got = answers(connection, 1)
            assert b"200 OK" in got
            assert b"prediction_id" in got
        connection.sendall(GET + UPGRADE + b"\r\n")
        assert b"200 OK" in answered(connection)
        connection.sendall(GET + b"\r\n")
        assert b"200 OK" in answered(connection)


def test_what_follows_a_request_to_upgrade_in_one_piece_is_read(connect: Connect) -> None:
    with connect() as connection:
        one = PLAIN + UPGRADE + b"\r\n" + ROW
        connection.sendall(one + one + PLAIN + b"\r\n" + ROW)
        assert answers(connection, 3).count(b"prediction_id") == 3


def test_the_body_of_a_request_to_upgrade_is_waited_for_no_longer_than_any(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(PLAIN + UPGRADE + b"\r\n")
        assert b" 408 " in until_closed(connection)


@pytest.mark.parametrize("lengths", [b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: x\r\n"])
def test_an_upgrade_hides_no_second_request(connect: Connect, lengths: bytes) -> None:
    with connect() as connection:
        connection.sendall(CALL + lengths + UPGRADE + b"\r\n0\r\n\r\n" + GET + b"\r\n")
        got = until_closed(connection)
        assert b" 400 " in got
        assert b"alive" not in got


BUNDLE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
SCHEMA = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
PLACES = 4


@pytest.fixture
def few_places(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an API that serves four requests at once, and waits a second for a client to read."""
    monkeypatch.setattr(head_limit, "WRITE_SECONDS", 1.0)
    with serving(create_app(settings.model_copy(update={"max_requests_in_progress": PLACES}))) as port:
        yield port


def closed_by_the_api(connection: socket.socket, seconds: float) -> bool:
    """Whether the API closes the connection, of which nothing is read, within the time."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        try:
            connection.send(b"G")
        except BlockingIOError:
            pass
        except OSError:
            return True
        sleep(0.05)
    return False


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("request_", "times"), [(BUNDLE, 10), (SCHEMA, 400)])
def test_clients_that_never_read_hold_up_nobody_and_lose_their_connection(
    few_places: int, request_: bytes, times: int
) -> None:
    with ExitStack() as stack:
        idle = []
        for _ in range(4 * PLACES):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", few_places))
            connection.setblocking(False)
            connection.send(request_ * times)
            idle.append(connection)
        for _ in range(20):
            answer = httpx.get(f"http://127.0.0.1:{few_places}/model", headers={"Host": "x"}, timeout=20)
            assert answer.status_code == 200
        assert all(closed_by_the_api(connection, 20) for connection in idle)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_client_that_reads_slowly_gets_everything(few_places: int) -> None:
    with socket.create_connection(("127.0.0.1", few_places), timeout=20) as connection:
        connection.sendall(BUNDLE * 10)
        size = len(
            httpx.get(
                f"http://127.0.0.1:{few_places}/static-offline-docs/swagger-ui-bundle.js", headers={"Host": "x"}
            ).content
        )
        received, began = 0, monotonic()
        while received < 10 * size:
            sleep(0.2)
            for _ in range(20):
                part = connection.recv(65_536)
                assert part
                received += len(part)
                if received >= 10 * size:
                    break
    assert monotonic() - began > 1.0  # longer than a client may go without reading


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_clients_that_read_large_answers_slowly_hold_little_memory_together(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, most = 16_000_000, 40_000_000
    monkeypatch.setattr(head_limit, "MAX_UNREAD_BYTES", most)
    report = settings.reports_dir / "2026-11-23" / "a.html"
    report.parent.mkdir(parents=True)
    report.write_bytes(b"x" * size)
    with serving(create_app(settings)) as port, ExitStack() as stack:
        slow = []
        for _ in range(8):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /reports/2026-11-23/a.html HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1)  # the answer is in memory now
            slow.append(connection)
        # those that came first are closed, long before a client is too slow
        assert all(closed_by_the_api(blocking(connection, False), 10) for connection in slow[:4])
        received = len(until_end(blocking(slow[-1], True), size))
        assert received > size


def blocking(connection: socket.socket, value: bool) -> socket.socket:
    connection.setblocking(value)
    return connection


def until_end(connection: socket.socket, size: int) -> bytes:
    """What comes until the whole body is there."""
    parts, received = [], 0
    while received < size + 100 and (part := connection.recv(1_000_000)):
        parts.append(part)
        received += len(part)
    return b"".join(parts)
