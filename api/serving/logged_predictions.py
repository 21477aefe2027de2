"""Predictions that another program made: the body of the call that logs them, and what is logged of each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
import uuid_utils
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, WrapValidator, create_model
from pydantic_core import PydanticCustomError

from api.errors import MAX_ERRORS, FieldError, PayloadError, shortened
from api.prediction_log.inserts import same_row
from api.prediction_log.records import PredictionRecord
from api.serving.responses import (
    PROBABILITY_DECIMALS,
    AnsweredRow,
    listed_classes,
    number_text,
)
from api.serving.schemas import EXAMPLE_ID, ClassLabel, OwnId, Row
from model.artifact.manifest import ClassifierManifest, Manifest
from model.data.cells import KnownClasses
from model.serving.engines import PROBABILITY_TOLERANCE

_OWN_ID = (
    "The caller's own id. The same id with the same row and prediction is logged once; with another, it is refused."
)
_LABEL = "The true value, if it is known already. It can also be sent later, to POST /feedback."
_ROUNDING = 1e-6


class LoggedPrediction(BaseModel):
    """A row, and what a model answered to it elsewhere; the types are set by `log_types`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    features: Row
    prediction: Any
    probabilities: dict[str, float] | None = None
    prediction_id: OwnId | None = Field(None, description=_OWN_ID)
    label: Any = None


class LogBody(BaseModel):
    """Predictions that were made elsewhere."""

    model_config = ConfigDict(extra="forbid", strict=True)

    predictions: Annotated[list[LoggedPrediction], FailFast()]

    def rows(self) -> list[AnsweredRow]:
        """Return the rows with their answers, each with an id. Raises PayloadError for an id that comes twice."""
        _refuse_repeated([one.prediction_id for one in self.predictions])
        return [
            AnsweredRow(
                one.features.cells(),
                one.prediction_id or str(uuid_utils.uuid7()),
                one.prediction if isinstance(one.prediction, str) else number_text(one.prediction),
                one.probabilities or {},
            )
            for one in self.predictions
        ]

    def labels(self) -> list[tuple[int, str]]:
        """Return the labels that came along, as they are logged, each with the place of its prediction."""
        found = ((place, one.label) for place, one in enumerate(self.predictions) if one.label is not None)
        return [(place, label if isinstance(label, str) else number_text(label)) for place, label in found]


def _refuse_repeated(ids: Sequence[str | None]) -> None:
    first: dict[str, int] = {}
    errors: list[FieldError] = []
    for index, prediction_id in enumerate(ids):
        if prediction_id is not None and first.setdefault(prediction_id, index) != index:
            message = f"{prediction_id!r} is the id of predictions[{first[prediction_id]}] too; send each id once"
            errors.append(FieldError(f"predictions[{index}].prediction_id", message, "id_twice"))
            if len(errors) == MAX_ERRORS:
                break
    if errors:
        raise PayloadError.of(errors, complete=len(errors) < MAX_ERRORS)


class LogReceipt(BaseModel):
    """The outcome of a call that logs predictions: all of them are in the log."""

    accepted: int = Field(description="Predictions of this call that are in the log.")
    repeated: int = Field(description="How many of them were in the log before, with the same id, row and answer.")
    labels: int = Field(description="Labels of this call that are stored.")
    prediction_ids: list[str] = Field(description="The id of each prediction, in the order in which they were sent.")
    model_version: str


def log_types(manifest: Manifest, row: type[Row], max_rows: int) -> tuple[type[LoggedPrediction], type[LogBody]]:
    """Build the types of one prediction and of the body for this model, whose rows are of the given type."""
    prediction: Any
    label: Any
    if isinstance(manifest, ClassifierManifest):
        known = KnownClasses(manifest.classes)
        prediction, label = (
            Annotated[ClassLabel, WrapValidator(partial(_class_name, known, manifest, word))]
            for word in ("prediction", "label")
        )
        named = WrapValidator(partial(_shares, manifest.class_names))
        probabilities: Any = Annotated[dict[str, float], named] | None
        shares = f"Of each class; they add up to 1, within {PROBABILITY_TOLERANCE:g}."
        example: Any = manifest.classes[0]
    else:
        prediction = label = Annotated[float, Field(allow_inf_nan=False)]
        probabilities, shares, example = None, "A number has none.", manifest.label_range.mean
    item = create_model(
        "LoggedPrediction",
        __base__=LoggedPrediction,
        __doc__="A row, and what the model answered to it elsewhere.",
        features=(row, ...),
        prediction=(prediction, Field(description="What the model predicted.", examples=[example])),
        probabilities=(probabilities, Field(None, description=shares, examples=[None])),
        prediction_id=(OwnId | None, Field(None, description=_OWN_ID, examples=[EXAMPLE_ID])),
        label=(label | None, Field(None, description=_LABEL, examples=[None])),
    )
    sizes: Any = {"minItems": 1, "maxItems": max_rows}
    several: Any = Annotated[list[item], FailFast()]
    body = create_model(
        "LogBody",
        __base__=LogBody,
        __doc__="Predictions that were made elsewhere: all of them are logged, or none.",
        predictions=(several, Field(description=f"1 to {max_rows:,} predictions.", json_schema_extra=sizes)),
    )
    return item, body


def _class_name(
    known: KnownClasses, manifest: ClassifierManifest, word: str, value: Any, validate: Callable[[Any], Any]
) -> str:
    """Return the name of the class that a value means, in any JSON type that a class may have."""
    try:
        place = known.place(validate(value))
    except ValidationError:
        place = None
    if place is None:
        message = f"the {word} must be one of the classes {listed_classes(manifest)}"
        raise PydanticCustomError("unknown_class", "{message}", {"message": message})
    return manifest.class_names[place]


def _shares(names: Sequence[str], value: Any, validate: Callable[[Any], dict[str, float]]) -> dict[str, float]:
    """Return the probability of each class, in their order, adding up to 1."""
    if isinstance(value, dict) and value.keys() != set(names):  # before the values, of which there may be many
        raise _not_shares(_other_classes(names, value))
    shares = validate(value)
    wrong = next((name for name in names if not -_ROUNDING <= shares[name] <= 1 + _ROUNDING), None)
    if wrong is not None:
        raise _not_shares(f"{shares[wrong]:g} is no probability, which lies between 0 and 1")
    total = sum(shares.values())
    if abs(total - 1) > PROBABILITY_TOLERANCE:
        raise _not_shares(f"add up to {total:g}, not to 1")
    return {name: round(max(shares[name], 0.0) / total, PROBABILITY_DECIMALS) for name in names}


def _other_classes(names: Sequence[str], given: Mapping[str, Any]) -> str:
    lacking = next((name for name in names if name not in given), None)
    if lacking is not None:
        return f"have none for the class {shortened(lacking)!r}; send one for each class, or none at all"
    unknown = next(iter(given.keys() - set(names)))
    return f"have one for {shortened(str(unknown))!r}, which is none of the classes"


def _not_shares(message: str) -> PydanticCustomError:
    return PydanticCustomError("probabilities", "{message}", {"message": message})


def same_answer(logged: PredictionRecord, sent: PredictionRecord) -> bool:
    """Return whether both are of the same row, and have the same answer."""
    if not same_row(logged, sent) or logged.prediction != sent.prediction:
        return False
    if logged.probabilities == sent.probabilities:
        return True
    return bool(orjson.loads(logged.probabilities) == orjson.loads(sent.probabilities))


def receipt(rows: Sequence[AnsweredRow], new: int, labels: int, version: str) -> bytes:
    """Return the JSON that says what became of the rows, of which so many are new in the log."""
    found = {"accepted": len(rows), "repeated": len(rows) - new, "labels": labels}
    return orjson.dumps(found | {"prediction_ids": [row.prediction_id for row in rows], "model_version": version})
