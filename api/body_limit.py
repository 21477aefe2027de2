"""Owns the largest body that a request may have."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import problem


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is, or says it will be, over ``max_bytes``."""

    def __init__(self, app: ASGIApp, max_bytes: int, metrics: Metrics) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._detail = f"the body is larger than the limit of {max_bytes:,} bytes; send fewer rows at a time"
        # the rest of the body is not read, so the connection cannot be used again
        self._headers = {"Connection": "close"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            self._metrics.reject("body_too_large")
            answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, headers=self._headers)
            await answer(scope, receive, send)
            return
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                self._metrics.reject("body_too_large")
                # an HTTPException is what FastAPI lets through while it reads a body
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, self._headers)
            return message

        await self._app(scope, limited_receive, send)
