"""POST /predict, /predict/batch and /feedback."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.config import JsonDict
from starlette.types import Message, Receive, Scope, Send

from api.errors import FieldError, PayloadError
from api.problems import problem_responses
from api.schemas import FeedbackReceipt
from api.serving.data_plane import DataPlane
from api.serving.schemas import Row, task_types

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


Model = TypeVar("Model", bound=BaseModel)


def prediction_routes(plane: DataPlane, row: type[Row], max_rows: int) -> APIRouter:
    """Build the routes for the type of row that the model takes, and for what it predicts."""
    types = task_types(plane.manifest)
    # for the schema only: a count that is wrong gets an error of its own, which says more
    size: JsonDict = {"minItems": 1, "maxItems": max_rows}
    batch = create_model(
        "Batch",
        __base__=_Batch,
        __doc__="Rows to predict together: all of them are logged, or none.",
        rows=(list[row], Field(description=f"1 to {max_rows:,} rows.", json_schema_extra=size)),  # type: ignore[valid-type] # made at run time
    )

    async def answer_one(body: Row) -> bytes:
        return (await plane.predict([body.cells()]))[0]

    async def answer_all(body: _Batch) -> bytes:
        _check_count("rows", len(body.rows), max_rows)
        answers = await plane.predict([item.cells() for item in body.rows])
        return b'{"predictions":[' + b",".join(answers) + b"]}"

    ways = {"/predict": _quick(row, answer_one), "/predict/batch": _quick(batch, answer_all)}
    problems = problem_responses(400, 408, 413, 422, 503)
    router = APIRouter(tags=["predictions"], responses=problems, route_class=quick_routes(ways))

    @router.post(
        "/predict", summary="Predict one row", responses=_answer(types.example), response_model=types.prediction
    )
    async def predict(body: row) -> Response:  # type: ignore[valid-type] # made at run time
        return _json(await answer_one(body))

    @router.post(
        "/predict/batch",
        summary="Predict several rows",
        responses=_answer({"predictions": [types.example]}),
        response_model=types.predictions,
    )
    async def predict_batch(body: batch) -> Response:
        return _json(await answer_all(body))

    @router.post("/feedback", summary="Send the labels of earlier predictions")
    async def feedback(body: types.feedback) -> FeedbackReceipt:  # type: ignore[name-defined] # made at run time
        _check_count("labels", len(body.labels), max_rows)
        receipt = await plane.give_labels([(item.prediction_id, item.label) for item in body.labels])
        return FeedbackReceipt(accepted=receipt.accepted, unknown=list(receipt.unknown))

    return router


class _Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: list[Row]


def _answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}


def _quick(kind: type[Model], answer: Callable[[Model], Awaitable[bytes]]) -> Way:
    validate = kind.__pydantic_validator__.validate_json

    async def way(body: bytes) -> bytes:
        return await answer(validate(body))

    return way


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        error = FieldError(field, f"{count:,} are too many; send at most {most:,} at a time", "too_many_rows")
    elif count == 0:
        error = FieldError(field, "is empty; send at least one", "too_few_rows")
    else:
        return
    raise PayloadError(f"{field}: {error.message}", (error,))
