"""Owns POST /predict, /predict/batch and /feedback."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.config import JsonDict

from api.data_plane import DataPlane
from api.errors import FieldError, PayloadError
from api.problems import problem_responses
from api.row_types import Row
from api.schemas import Feedback, FeedbackReceipt, Prediction, Predictions


def prediction_routes(plane: DataPlane, row: type[Row], max_rows: int) -> APIRouter:
    """Build the routes for the type of row that the model takes."""
    router = APIRouter(tags=["predictions"], responses=problem_responses(400, 408, 413, 422, 503))
    # for the schema only: a count that is wrong gets an error of its own, which says more
    size: JsonDict = {"minItems": 1, "maxItems": max_rows}
    batch = create_model(
        "Batch",
        __base__=_Batch,
        __doc__="Rows to predict together: all of them are logged, or none.",
        rows=(list[row], Field(description=f"1 to {max_rows:,} rows.", json_schema_extra=size)),  # type: ignore[valid-type] # made at run time
    )

    example = _example(plane)

    @router.post("/predict", summary="Predict one row", responses=_answer(example))
    async def predict(body: row) -> Prediction:  # type: ignore[valid-type] # made at run time
        answers = await plane.predict([body.cells()])  # type: ignore[attr-defined] # as above
        return Prediction.model_construct(**_fields(answers[0]))

    @router.post("/predict/batch", summary="Predict several rows", responses=_answer({"predictions": [example]}))
    async def predict_batch(body: batch) -> Predictions:
        _check_count("rows", len(body.rows), max_rows)
        answers = await plane.predict([item.cells() for item in body.rows])
        predictions = [Prediction.model_construct(**_fields(answer)) for answer in answers]
        return Predictions.model_construct(predictions=predictions)

    @router.post("/feedback", summary="Send the true classes of earlier predictions")
    async def feedback(body: Feedback) -> FeedbackReceipt:
        _check_count("labels", len(body.labels), max_rows)
        receipt = await plane.give_labels([(item.prediction_id, item.label) for item in body.labels])
        return FeedbackReceipt(accepted=receipt.accepted, unknown=list(receipt.unknown))

    return router


class _Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: list[Row]


def _example(plane: DataPlane) -> dict[str, Any]:
    """Make up an answer that has the model's classes, for Swagger UI."""
    names = plane.manifest.class_names
    shares = {name: 0.9 if name == names[0] else round(0.1 / (len(names) - 1), 3) for name in names}
    return {
        "prediction_id": "01a206d1-4af7-73b6-82be-e3ad6c7ae0a1",
        "prediction": plane.manifest.classes[0],
        "probabilities": shares,
        "model_version": plane.manifest.version,
    }


def _answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}


def _fields(answer: Any) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in Prediction.model_fields}


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        error = FieldError(field, f"{count:,} are too many; send at most {most:,} at a time", "too_many_rows")
    elif count == 0:
        error = FieldError(field, "is empty; send at least one", "too_few_rows")
    else:
        return
    raise PayloadError(f"{field}: {error.message}", (error,))
