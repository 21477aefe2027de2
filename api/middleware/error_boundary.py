"""Turns an unexpected error into a problem response with the usual headers."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import unexpected_problem

logger = logging.getLogger(__name__)


class ErrorBoundary:
    """ASGI middleware: logs an unhandled exception, and responds with 500 if no response has started.

    Starlette's own error middleware is outside all others, so its response would lack the security and CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:  # a request's boundary: other requests are still served
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await unexpected_problem()(scope, receive, send)
