"""Owns POST /predict, /predict/batch and /feedback."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.config import JsonDict

from api.data_plane import DataPlane
from api.errors import FieldError, PayloadError
from api.problems import problem_responses
from api.routes.quick import Way, quick_routes
from api.row_types import Row
from api.schemas import FeedbackReceipt
from api.task_types import task_types

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
