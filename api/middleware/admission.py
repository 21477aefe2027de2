"""Limits how many requests are served at once: one more is refused immediately, so that the others do not wait."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import DependencyError
from api.middleware.auth import ASSETS
from api.middleware.request_metrics import is_measured
from api.problems import problem

HEADERS = {"Retry-After": str(DependencyError.retry_after_seconds)}
MAX_BODIES = 4
"""All bodies in progress together may be as large as this many of the largest allowed body."""


def _is_free(path: str) -> bool:
    return path.startswith(ASSETS) or not is_measured(path)


class Admission:
    """ASGI middleware: serves at most ``max_requests`` at once, and bodies of at most four times ``max_body_bytes``.

    Above either limit, a request gets 503 with Retry-After, so that the time to serve an accepted one stays bounded. A
    request counts once its body is complete, and until its response starts, so clients that send or read slowly take
    nobody's place. Health checks, scrapes and static files are always let through.
    """

    def __init__(self, app: ASGIApp, max_requests: int, max_body_bytes: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_body_bytes = max_body_bytes
        self._requests = 0
        self._body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or _is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        body_bytes = self._expected_bytes(scope)
        detail = self._refusal(body_bytes)
        if detail is not None:
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=HEADERS)(scope, receive, send)
            return
        complete = counted = body_bytes == 0
        self._requests += counted
        self._body_bytes += body_bytes

        async def counting_receive() -> Message:
            nonlocal complete, counted
            message = await receive()
            if not complete and not message.get("more_body", False):
                if self._requests >= self._max_requests:
                    raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, self._too_many(), HEADERS)
                complete = counted = True
                self._requests += 1
            return message

        async def releasing_send(message: Message) -> None:
            release()
            await send(message)

        def release() -> None:
            nonlocal counted, body_bytes
            self._requests -= counted
            self._body_bytes -= body_bytes
            counted, body_bytes = False, 0

        try:
            await self._app(scope, counting_receive, releasing_send)
        finally:
            release()

    def _expected_bytes(self, scope: Scope) -> int:
        """Return the declared size of the body, or the largest allowed one if the request does not declare it."""
        declared = 0
        for name, value in scope["headers"]:
            if name == b"transfer-encoding":
                return self._max_body_bytes
            if name == b"content-length" and value.isdigit():
                declared = min(int(value), self._max_body_bytes)
        return declared

    def _refusal(self, body_bytes: int) -> str | None:
        if self._requests >= self._max_requests:
            return self._too_many()
        if self._body_bytes and self._body_bytes + body_bytes > MAX_BODIES * self._max_body_bytes:
            return f"{self._body_bytes:,} bytes of bodies are in progress; try again shortly"
        return None

    def _too_many(self) -> str:
        return f"{self._requests} requests are in progress, which is the limit; try again shortly"
