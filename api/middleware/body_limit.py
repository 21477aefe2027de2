"""Limits how large the body of a request may be, and how long it may take to arrive."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Refuse, problem

DISCARDED_BODIES = 8
"""A refused body is read to its end, up to this many times the limit ..."""
MAX_DISCARD_SECONDS = 5.0
"""... and for at most this time. A client that is still sending when the connection closes may not see the response."""


class BodyLimit:
    """ASGI middleware: refuses a body that is, or declares to be, larger than ``max_bytes`` (413), or is slow (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float, refuse: Refuse) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._refuse = refuse
        self._slow = f"the body did not arrive within {max_seconds:g} s; send fewer rows, or check the connection"
        self._detail = f"the body is larger than the limit of {max_bytes:,} bytes; send fewer rows"
        # unread bytes of the body would be parsed as the next request
        self._headers = {"Connection": "close"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._discard(receive, scope)
            response = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, headers=self._headers)
            await response(scope, receive, send)
            return
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._max_seconds

        async def limited_receive() -> Message:
            nonlocal received, complete
            if complete:  # the next message says that the client has gone, for which there is no deadline
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                self._refuse("body_too_slow", scope)
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, self._slow, self._headers) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                if message.get("more_body", False):
                    await self._discard(receive, scope)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail, self._headers)
            return message

        await self._app(scope, limited_receive, send)

    async def _discard(self, receive: Receive, scope: Scope) -> None:
        """Count the refused body, and read the rest of it, within bounds."""
        self._refuse("body_too_large", scope)
        discarded = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DISCARD_SECONDS):
                while discarded <= DISCARDED_BODIES * self._max_bytes:
                    message = await receive()
                    discarded += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
