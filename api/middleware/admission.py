"""Limits how many requests are served at once: one more is refused at once instead of making everyone wait."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import DependencyError
from api.middleware.request_metrics import is_measured
from api.problems import problem

HEADERS = {"Retry-After": str(DependencyError.retry_after_seconds)}
BODIES_AT_ONCE = 4
"""The bodies under way may add up to this many of the largest."""


class Admission:
    """ASGI middleware: serves at most ``max_requests`` at once, and bodies of at most four times ``max_body_bytes``.

    Past either, a request gets 503 with Retry-After, so that the time which the accepted ones take stays bounded
    however many come. A request counts from when its body is complete: many that dawdle take no one's place. Health
    checks and scrapes are always let through.
    """

    def __init__(self, app: ASGIApp, max_requests: int, max_body_bytes: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_body_bytes = max_body_bytes
        self._requests = 0
        self._body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or not is_measured(scope["path"]):
            await self._app(scope, receive, send)
            return
        body_bytes = self._expected_bytes(scope)
        detail = self._refusal(body_bytes)
        if detail is not None:
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=HEADERS)(scope, receive, send)
            return
        counted = body_bytes == 0
        self._requests += counted
        self._body_bytes += body_bytes

        async def counting_receive() -> Message:
            nonlocal counted
            message = await receive()
            if not counted and not message.get("more_body", False):
                if self._requests >= self._max_requests:
                    # an HTTPException is what FastAPI lets through while it reads a body
                    raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, self._all_taken(), HEADERS)
                counted = True
                self._requests += 1
            return message

        try:
            await self._app(scope, counting_receive, send)
        finally:
            self._requests -= counted
            self._body_bytes -= body_bytes

    def _expected_bytes(self, scope: Scope) -> int:
        """Return how much of a body may come: what the request declares, or the most where it does not say."""
        declared = 0
        for name, value in scope["headers"]:
            if name == b"transfer-encoding":
                return self._max_body_bytes
            if name == b"content-length" and value.isdigit():
                declared = min(int(value), self._max_body_bytes)
        return declared

    def _refusal(self, body_bytes: int) -> str | None:
        if self._requests >= self._max_requests:
            return self._all_taken()
        if self._body_bytes and self._body_bytes + body_bytes > BODIES_AT_ONCE * self._max_body_bytes:
            return f"{self._body_bytes:,} bytes of bodies are under way; try again shortly"
        return None

    def _all_taken(self) -> str:
        return f"{self._requests} requests are under way, which is the most; try again shortly"
