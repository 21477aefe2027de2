"""Owns the quick way through a route: one pass over the body's bytes, and an answer that is JSON already.

FastAPI parses a body to Python values, makes these into models, and goes the same way back for the answer, which costs
more than predicting does. What is not plain, such as a body with an error, goes FastAPI's own way, from the start: so
errors, and the OpenAPI schema, are FastAPI's.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

Way = Callable[[bytes], Awaitable[bytes]]
"""From a body to the answer, both JSON. Raises ValidationError for what FastAPI is to look at."""


def quick_routes(ways: Mapping[str, Way]) -> type[APIRoute]:
    """Return the class of routes that take these quick ways, by path, to answer POST."""

    class QuickRoute(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            way = ways.get(self.path)
            if way is None or scope["method"] != "POST" or not _is_json(scope):
                await super().handle(scope, receive, send)
                return
            messages, body = await _read(receive)
            try:
                answer = await way(body) if body is not None else None
            except ValidationError:
                answer = None
            if answer is None:
                await super().handle(scope, _again(messages, receive), send)
                return
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

    return QuickRoute


def _is_json(scope: Scope) -> bool:
    return any(name == b"content-type" and value.startswith(b"application/json") for name, value in scope["headers"])


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Return the messages that carry the body, and the body; None where the client went away in the middle."""
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join([one.get("body", b"") for one in messages])


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return what receives the messages once more, and then what comes after them."""
    waiting = iter(messages)

    async def receive_again() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return receive_again
