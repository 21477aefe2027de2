"""Limits how large the body of a request may be, and how long it may take to arrive."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

DISCARDED_BODIES = 8
"""A refused body is read to its end, if it is no longer than this many times the limit ..."""
MAX_DISCARD_SECONDS = 5.0
"""... and comes within this time. A client that still sends when the connection closes may never see the answer."""


class BodyLimit:
    """ASGI middleware: refuses a body (413) that is, or says it will be, over ``max_bytes``, or is slow (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float, refuse: Callable[[str], object]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._refuse = refuse
        self._slow = f"the body did not arrive within {max_seconds:g} s; send fewer rows, or find what holds it up"
        self._detail = f"the body is larger than the limit of {max_bytes:,} bytes; send fewer rows"
        # what is left of a body that is longer still would be taken for the next request
        self._headers = {"Connection": "close"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._discard(receive)
            answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, headers=self._headers)
            await answer(scope, receive, send)
            return
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._max_seconds

        async def limited_receive() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is that the client has gone, which may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                self._refuse("body_too_slow")
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, self._slow, self._headers) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                if message.get("more_body", False):
                    await self._discard(receive)
                # an HTTPException is what FastAPI lets through while it reads a body
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, self._headers)
            return message

        await self._app(scope, limited_receive, send)

    async def _discard(self, receive: Receive) -> None:
        """Count the refused body, and read what comes of it, within bounds."""
        self._refuse("body_too_large")
        discarded = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DISCARD_SECONDS):
                while discarded <= DISCARDED_BODIES * self._max_bytes:
                    message = await receive()
                    discarded += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
