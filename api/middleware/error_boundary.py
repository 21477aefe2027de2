"""Turns an unexpected error into an answer like any other, with the headers of every answer."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import unexpected_problem

logger = logging.getLogger(__name__)


class ErrorBoundary:
    """ASGI middleware: logs an exception that nobody handled, and answers 500 where no answer has begun.

    Starlette's own stands outside every middleware, so that its answer would lack the security headers, and what other
    origins are told.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception:  # a request's boundary: the others are served on
            if begun:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await unexpected_problem()(scope, receive, send)
