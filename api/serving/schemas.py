"""Request and response types that depend on the model: on its features and its task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError, WrapValidator, create_model
from pydantic_core import PydanticCustomError

from api.errors import FieldError, PayloadError
from api.prediction_log.records import OWN_ID_PATTERN
from api.serving.responses import IdentifiedRow, LabelValue, RowWithMetadata, listed_classes
from model.artifact.manifest import ClassifierManifest, Feature, Manifest, NumberRange, RegressorManifest, Value
from model.data.encoding import MAX_CATEGORY_LENGTH, encoding_of


class Row(BaseModel):
    """One row of features; its fields are made from the model's schema by `row_type`.

    Values are strict: neither the text "5.1" nor true is a number.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    metadata_columns: ClassVar[dict[str, str]] = {}
    """The columns that may ride along, by the field that holds each; these fields follow those of the features."""

    def cells(self) -> list[Value]:
        """Return the values in the order of the schema, with the metadata that the row brings along."""
        columns = self.metadata_columns
        values = list(self.__dict__.values())
        if not columns:
            return values
        sent = self.model_fields_set
        metadata = {name: self.__dict__[field] for field, name in columns.items() if field in sent}
        return RowWithMetadata(values[: -len(columns)], metadata)


MetadataCell = (
    Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | bool
    | Annotated[str, Field(max_length=MAX_CATEGORY_LENGTH)]
    | None
)
"""What a column that rides along may hold: as much as a feature may."""
_RIDES = "Logged with the row, and never given to the model."


OwnId = Annotated[str, Field(pattern=OWN_ID_PATTERN)]
"""A caller's own id for a prediction."""
_OWN_ID: TypeAdapter[str] = TypeAdapter(OwnId)


def read_own_id(values: Sequence[str]) -> str:
    """Return the id in the address of a request to predict one row. Raises PayloadError."""
    if len(values) > 1:
        message = f"is there {len(values)} times; send one"
        raise PayloadError.of([FieldError("prediction_id", message, "too_many_ids")])
    try:
        return _OWN_ID.validate_python(values[0])
    except ValidationError as error:
        message = f"{error.errors()[0]['msg']}; in an address, write + as %2B"
        raise PayloadError.of([FieldError("prediction_id", message, error.errors()[0]["type"])]) from None


class Batch(BaseModel):
    """Rows to predict together; the type of its rows is set by `batch_type`."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[Row], FailFast()]
    prediction_ids: Annotated[list[OwnId], Field(fail_fast=True)] | None = Field(
        None,
        description="An id of the caller's own for each row; they differ.",
        examples=[None],
        json_schema_extra={"uniqueItems": True, "minItems": 1},
    )

    def cells(self) -> list[list[Value]]:
        """Return the values of each row, with the id of its prediction. Raises PayloadError."""
        rows = [row.cells() for row in self.rows]
        if self.prediction_ids is None:
            return rows
        if len(self.prediction_ids) != len(rows):
            message = f"{len(self.prediction_ids):,} ids for {len(rows):,} rows; send one id for each row"
            raise PayloadError.of([FieldError("prediction_ids", message, "wrong_number_of_ids")])
        first = {prediction_id: index for index, prediction_id in reversed([*enumerate(self.prediction_ids)])}
        for index, prediction_id in enumerate(self.prediction_ids):
            if first[prediction_id] != index:
                message = f"{prediction_id!r} is the id of row {first[prediction_id]} already; send each id once"
                raise PayloadError.of([FieldError(f"prediction_ids[{index}]", message, "id_twice")])
        return list(map(IdentifiedRow, rows, self.prediction_ids))


def row_type(manifest: Manifest) -> type[Row]:
    """Build the type of one row. A feature's name may be any text, so it is the alias of its field."""
    fields: dict[str, Any] = {f"feature_{number}": _field(feature) for number, feature in enumerate(manifest.features)}
    example = {feature.name: feature.example for feature in manifest.features}
    names = [name for name in manifest.metadata if name not in manifest.feature_names]
    columns = {f"metadata_{number}": name for number, name in enumerate(names)}
    fields |= {field: (MetadataCell, Field(None, alias=name, description=_RIDES)) for field, name in columns.items()}
    row = create_model(
        "Row",
        __base__=Row,
        __doc__=f"One row for the model {manifest.name}, version {manifest.version}.",
        __cls_kwargs__={"json_schema_extra": {"examples": [example]}},
        **fields,
    )
    row.metadata_columns = columns
    return row


def batch_type(row: type[Row], max_rows: int) -> type[Batch]:
    """Build the type of several rows. The sizes are for the schema only: `ListBody` checks them, and says more."""
    sizes: Any = {"minItems": 1, "maxItems": max_rows}
    rows: Any = Annotated[list[row], FailFast()]  # type: ignore[valid-type] # made at run time
    return create_model(
        "Batch",
        __base__=Batch,
        __doc__="Rows to predict together: all of them are logged, or none.",
        rows=(rows, Field(description=f"1 to {max_rows:,} rows.", json_schema_extra=sizes)),
    )


def _field(feature: Feature) -> Any:
    details: dict[str, Any] = {
        "alias": feature.name,
        "description": _describe(feature),
        "examples": [feature.example],
    }
    encoding = encoding_of(feature)
    if schema := encoding.json_schema(feature):
        details["json_schema_extra"] = schema
    return (encoding.json_type(feature), Field(**details))


def _describe(feature: Feature) -> str:
    """Describe a feature's values in the training data; other values are accepted, and monitored."""
    parts = [feature.description] if feature.description else []
    if feature.unit:
        parts.append(f"in {feature.unit}")
    if feature.minimum is not None and feature.maximum is not None:
        parts.append(f"{feature.minimum:g} to {feature.maximum:g} in training")
    if feature.categories:
        shown = ", ".join(feature.categories[:10])
        more = len(feature.categories) - 10
        parts.append(f"one of {shown}{f' and {more} more' if more > 0 else ''} in training")
    if feature.other is not None:
        parts.append(f"any other value counts as {feature.other}")
    if feature.notation is not None:
        parts.append("a number, or text as in the training data")
    if feature.clip is not None:
        parts.append(f"numbers beyond {feature.clip[0]:g} and {feature.clip[1]:g} count as these")
    if feature.closed:
        parts.append("other values are refused")
    parts.append("null if missing" if feature.nullable else "required")
    return "; ".join(parts)


PredictionId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
"""Visible ASCII, as in the ids of predictions. PostgreSQL refuses NUL, and with it the whole commit."""
ClassValue = str | int | bool
ClassLabel = str | int | bool | Annotated[float, Field(allow_inf_nan=False)]
"""A class as a caller may send it: a class 1 is also sent as 1.0 and as "1"."""
EXAMPLE_ID = "01a206d1-4af7-73b6-82be-e3ad6c7ae0a1"

_FOR_FEEDBACK = "Send it back with the label, at POST /feedback."
_PREDICTIONS = "The predictions of several rows, in the order in which they were sent."
_FEEDBACK = "Labels of earlier predictions."
_MIN_ONE: Any = {"minItems": 1}


class Prediction(BaseModel):
    """The prediction of one row."""

    prediction_id: str = Field(description=_FOR_FEEDBACK)
    prediction: ClassValue = Field(
        description="The class that the model predicts: the most probable one, or by a rule of the model's own, as "
        "`answer` of GET /model says."
    )
    probabilities: dict[str, float] = Field(description="Probability of each class.")
    model_version: str


class Label(BaseModel):
    """The true value of an earlier prediction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prediction_id: PredictionId = Field(examples=[EXAMPLE_ID])
    label: LabelValue


class Feedback(BaseModel):
    """Labels of earlier predictions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    labels: Annotated[list[Label], FailFast()]


class ModelCard(BaseModel):
    """What the model predicts, its training data, and its quality in the test."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    features: list[dict[str, Any]]


class ClassifierCard(ModelCard):
    """What the model predicts, its training data, and its quality in the test."""

    task: Literal["classification"]
    classes: list[ClassValue]


class RegressorCard(ModelCard):
    """What the model predicts, its training data, and its quality in the test."""

    task: Literal["regression"]
    label_range: NumberRange


@dataclass(frozen=True, slots=True)
class TaskTypes:
    """The types of one task, and an example response for Swagger UI."""

    prediction: type[BaseModel]
    predictions: type[BaseModel]
    label: type[Label]
    feedback: type[Feedback]
    card: type[ModelCard]
    example: dict[str, Any]


def task_types(manifest: Manifest) -> TaskTypes:
    """Build the types for what this model predicts."""
    if isinstance(manifest, ClassifierManifest):
        one = Field(description="One of the model's classes.", examples=[manifest.classes[0]])
        label: Any = (Annotated[ClassLabel, WrapValidator(partial(_class_label, manifest))], one)
        return _types(Prediction, label, ClassifierCard, _class_example(manifest))
    number = f"{manifest.target}{_known(manifest)}"
    prediction = create_model(
        "Prediction",
        __doc__="The prediction of one row.",
        prediction_id=(str, Field(description=_FOR_FEEDBACK)),
        prediction=(float, Field(description=f"The predicted {number}")),
        model_version=(str, ...),
    )
    some = Field(description=f"The true {number}", examples=[_typical(manifest)])
    label = (Annotated[float, Field(allow_inf_nan=False)], some)
    return _types(prediction, label, RegressorCard, _number_example(manifest))


def _class_label(manifest: ClassifierManifest, value: Any, validate: Callable[[Any], LabelValue]) -> LabelValue:
    """Return a label of any JSON type that a class may have; one error that names the classes, instead of one a type.

    Whether it is one of the classes is decided with all labels of a request, in `label_texts`.
    """
    try:
        return validate(value)
    except ValidationError:
        message = f"the label must be one of the classes {listed_classes(manifest)}"
        raise PydanticCustomError("unknown_class", "{message}", {"message": message}) from None


def _types(prediction: type[BaseModel], label: Any, card: type[ModelCard], example: dict[str, Any]) -> TaskTypes:
    predictions = create_model("Predictions", __doc__=_PREDICTIONS, predictions=(list[prediction], ...))  # type: ignore[valid-type] # made at run time
    labelled = create_model("Label", __base__=Label, __doc__=Label.__doc__, label=label)
    labels: Any = (Annotated[list[labelled], FailFast()], Field(json_schema_extra=_MIN_ONE))
    feedback = create_model("Feedback", __base__=Feedback, __doc__=_FEEDBACK, labels=labels)
    return TaskTypes(prediction, predictions, labelled, feedback, card, example)


def _known(manifest: RegressorManifest) -> str:
    seen = manifest.label_range
    unit = f" in {seen.unit}" if seen.unit else ""
    return f"{unit}; {seen.minimum:g} to {seen.maximum:g} in training."


def _typical(manifest: RegressorManifest) -> float:
    return float(f"{manifest.label_range.mean:.4g}")


def _class_example(manifest: ClassifierManifest) -> dict[str, Any]:
    names = manifest.class_names
    shares = {name: 0.9 if name == names[0] else round(0.1 / (len(names) - 1), 3) for name in names}
    answer = {"prediction": manifest.classes[0], "probabilities": shares}
    return {"prediction_id": EXAMPLE_ID, **answer, "model_version": manifest.version}


def _number_example(manifest: RegressorManifest) -> dict[str, Any]:
    return {
        "prediction_id": EXAMPLE_ID,
        "prediction": _typical(manifest),
        "model_version": manifest.version,
    }
