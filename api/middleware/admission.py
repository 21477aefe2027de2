"""Limits how many requests are served at once: one more is refused immediately, so that the others do not wait."""

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import DependencyError
from api.middleware.auth import ASSETS
from api.middleware.request_metrics import is_measured
from api.problems import problem

HEADERS = {"Retry-After": str(DependencyError.retry_after_seconds)}
CLOSING = HEADERS | {"Connection": "close"}
"""For a body of which the rest is not read."""
MAX_BODIES = 4
"""All bodies in progress together may be as large as this many of the largest allowed body."""


def _is_free(path: str) -> bool:
    return path.startswith(ASSETS) or not is_measured(path)


class _Body:
    """What has arrived of the body of one request, and its wait for more."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.gave_way = False
        self.wait: asyncio.Timeout | None = None

    async def next_part(self, receive: Receive) -> Message:
        """Return the next message; raises HTTPException where the body has given way, also during the wait."""
        if not self.received_bytes:
            return await receive()
        try:
            async with asyncio.timeout(None) as self.wait:
                message = await receive()
        except TimeoutError:
            raise self._refusal() from None
        finally:
            self.wait = None
        if self.gave_way:
            raise self._refusal()
        return message

    def give_way(self) -> None:
        """Have the request refused."""
        self.gave_way = True
        if self.wait is not None:
            self.wait.reschedule(asyncio.get_running_loop().time())

    def _refusal(self) -> HTTPException:
        detail = "the rest of the body took too long while others needed the memory; try again shortly"
        return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, CLOSING)


class Admission:
    """ASGI middleware: serves at most ``max_requests`` at once, and bodies of at most four times ``max_body_bytes``.

    Above the number, a request gets 503 with Retry-After, so that the time to serve an accepted one stays bounded. A
    request counts once its body is complete, and until its response starts, so clients that send or read slowly take
    nobody's place. Bodies count by what has arrived of them. When that is too much, the one that has been arriving for
    longest gets the 503, so clients that send slowly take nobody's memory either. Health checks, scrapes and static
    files are always let through.
    """

    def __init__(self, app: ASGIApp, max_requests: int, max_body_bytes: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_bytes = MAX_BODIES * max_body_bytes
        self._requests = 0
        self._bytes = 0
        self._arriving: dict[_Body, None] = {}  # in order of arrival

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or _is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._requests >= self._max_requests:
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, self._too_many(), headers=HEADERS)(scope, receive, send)
            return
        body = _Body()
        complete = counted = not _has_body(scope)
        self._requests += counted

        async def counting_receive() -> Message:
            nonlocal complete, counted
            if complete:  # the next message says that the client has gone
                return await receive()
            message = await body.next_part(receive)
            complete = not message.get("more_body", False)
            self._hold(body, len(message.get("body", b"")), complete=complete)
            if complete:
                if self._requests >= self._max_requests:
                    raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, self._too_many(), HEADERS)
                counted = True
                self._requests += 1
            return message

        async def releasing_send(message: Message) -> None:
            release()
            await send(message)

        def release() -> None:
            nonlocal counted
            self._requests -= counted
            counted = False
            self._drop(body)

        try:
            await self._app(scope, counting_receive, releasing_send)
        finally:
            release()

    def _hold(self, body: _Body, received_bytes: int, *, complete: bool) -> None:
        """Count a part of a body. Without room for it, bodies that still arrive give way, the oldest first."""
        self._bytes += received_bytes
        body.received_bytes += received_bytes
        if complete:
            self._arriving.pop(body, None)
        else:
            self._arriving[body] = None
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._arriving), body)
            self._drop(oldest)
            if oldest is body:
                detail = f"{self._bytes:,} bytes of bodies are in progress; try again shortly"
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, HEADERS if complete else CLOSING)
            oldest.give_way()

    def _drop(self, body: _Body) -> None:
        self._bytes -= body.received_bytes
        body.received_bytes = 0
        self._arriving.pop(body, None)

    def _too_many(self) -> str:
        return f"{self._requests} requests are in progress, which is the limit; try again shortly"


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
        for name, value in scope["headers"]
    )
