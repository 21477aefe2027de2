"""Responses: the JSON that is sent for a row, the record that is logged of it, and how labels are logged."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

import numpy as np
import orjson
import uuid_utils

from api.errors import MAX_ERRORS, FieldError, NoFiniteAnswer, RowRefused, UnknownClass, shortened
from api.prediction_log.layouts import RowLayout
from api.prediction_log.records import SOLE_MODEL, PredictionRecord, prediction_key, public_id
from model.artifact.manifest import ClassifierManifest, Manifest, Value
from model.data.cells import KnownClasses
from model.errors import PredictionError
from model.serving.engines import Answers
from model.serving.predictor import AnyPredictor, Predictor

logger = logging.getLogger(__name__)

PROBABILITY_DECIMALS = 6
"""The served model computes in single precision, which has no more significant decimals."""
NO_PROBABILITIES = "{}"
"""What is logged by name as the probabilities of a regression, which has none."""
NO_SHARES = "[]"
"""The same with a layout."""

Row = Sequence[Value]
"""The values of one row, in the order of the schema."""


class RowWithMetadata(list[Value]):
    """A row that brings columns along that the model does not take: they are logged with it."""

    def __init__(self, values: Iterable[Value], metadata: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.metadata = metadata


class IdentifiedRow(RowWithMetadata):
    """A row for whose prediction the caller has an id of its own."""

    def __init__(self, row: Row, prediction_id: str) -> None:
        super().__init__(row, row.metadata if isinstance(row, RowWithMetadata) else {})
        self.prediction_id = prediction_id


class AnsweredRow(IdentifiedRow):
    """A row with an id, and what a model answered to it elsewhere, as it is logged; probabilities by class, if any."""

    def __init__(self, row: Row, prediction_id: str, prediction: str, probabilities: Mapping[str, float]) -> None:
        super().__init__(row, prediction_id)
        self.prediction = prediction
        self.probabilities = probabilities


LayoutId = Callable[[RowLayout], int | None]
"""Returns the id under which the log has a layout; None where rows must be logged by name."""

Response = tuple[list[PredictionRecord], list[bytes]]
"""The record to log and the JSON response of each row."""


class Responses(ABC):
    """Builds the responses to rows, with one call of the model for all of them; safe to share between threads.

    The parts of a response that are always the same are encoded once, here. ``model_id`` is the model's in the log;
    ``layout_id`` says under which id the log knows a layout, and without it rows are logged by name.
    """

    def __init__(self, predictor: AnyPredictor, model_id: int = SOLE_MODEL, layout_id: LayoutId | None = None) -> None:
        self._predictor = predictor
        self._model_id = model_id
        self._layout_id = layout_id or (lambda _layout: None)
        manifest: Manifest = predictor.manifest
        self.manifest = manifest
        self._closed = [
            (place, one.name, frozenset(one.categories or ()))
            for place, one in enumerate(manifest.features)
            if one.closed
        ]
        self._feature_names = manifest.feature_names
        self._version = manifest.version
        classes = manifest.class_names if isinstance(manifest, ClassifierManifest) else ()
        self._layout = RowLayout.of(manifest.version, manifest.feature_names, classes)
        self._end = f',"model_version":{orjson.dumps(self._version).decode()}}}'
        self._random = Random()  # noqa: S311 - it decides which rows a sample has, and nothing that must stay unknown

    @abstractmethod
    def respond(self, rows: Sequence[Row]) -> Response:
        """Return the record and the JSON response of each row. Raises PredictionError or NoFiniteAnswer."""

    def record(self, rows: Sequence[AnsweredRow]) -> Response:
        """Return the record of each row with the answer that it brings along, and its id as JSON."""
        records = []
        form = self._form()
        for row, key in zip(rows, self._sample_keys(len(rows)), strict=True):
            shares = row.probabilities if form.layout is None else [*row.probabilities.values()]
            logged = (form.features(row), row.prediction, orjson.dumps(shares).decode())
            log_key = prediction_key(self._model_id, row.prediction_id)
            records.append(PredictionRecord(log_key, key, form.version, *logged, self._model_id, form.layout))
        return records, [orjson.dumps(row.prediction_id) for row in rows]

    def repeat(self, record: PredictionRecord) -> bytes:
        """Return the JSON response to a row again, byte for byte, from what was logged of it."""
        shares = "" if record.probabilities == NO_PROBABILITIES else f',"probabilities":{record.probabilities}'
        prediction_id, version = public_id(record.prediction_id), orjson.dumps(record.model_version).decode()
        prediction = self._prediction_json(record.prediction)
        text = f'"prediction_id":"{prediction_id}","prediction":{prediction}{shares},"model_version":{version}'
        return f"{{{text}}}".encode()

    def unanswered(self, row: Row) -> PredictionRecord:
        """Return what would be logged of a row with an id of the caller's own, without an answer."""
        key = prediction_key(self._model_id, row.prediction_id if isinstance(row, IdentifiedRow) else "")
        features = self._features_by_name(row)
        return PredictionRecord(key, 0, self._version, features, "", NO_PROBABILITIES, self._model_id)

    @abstractmethod
    def _prediction_json(self, text: str) -> str:
        """Return a logged prediction as it is in JSON."""

    def _answers(self, rows: Sequence[Row]) -> Answers:
        """Return the model's answers. Raises RowRefused for rows that it cannot take, and PredictionError."""
        if self._closed:
            self._check_known(rows)
        try:
            return self._predictor.answers(rows)
        except PredictionError:
            raise
        except Exception as error:
            if self._fails([[feature.example for feature in self.manifest.features]]):
                raise  # it is the model, not the row
            logger.warning("the model cannot take a row: %s", shortened(f"{type(error).__name__}: {error}"))
            place = self._first_failing(rows)
            message = "the model cannot take this row; look for values far outside the training data"
            raise RowRefused.of([FieldError(_row_path(place, len(rows)), message, "row_refused")]) from error

    def _check_known(self, rows: Sequence[Row]) -> None:
        message = "the model knows no such value, and was made to refuse it; GET /model lists the values that it knows"
        errors = [
            FieldError((f"rows[{index}]." if len(rows) > 1 else "") + shortened(name), message, "unseen_value")
            for index, row in enumerate(rows)
            for place, name, known in self._closed
            if row[place] is not None and row[place] not in known
        ]
        if errors:
            raise RowRefused.of(errors)

    def _fails(self, rows: Sequence[Row]) -> bool:
        try:
            self._predictor.answers(rows)
        except Exception:  # noqa: BLE001 - as above
            return True
        return False

    def _first_failing(self, rows: Sequence[Row]) -> int:
        """Return the place of a row that fails, by halves: a caller may send thousands that all do."""
        first, last = 0, len(rows)
        while last - first > 1:
            middle = (first + last) // 2
            first, last = (first, middle) if self._fails(rows[first:middle]) else (middle, last)
        return first

    def _form(self) -> "_Form":
        """Return how rows are logged now."""
        layout = self._layout_id(self._layout)
        if layout is None:
            return _Form(self._features_by_name, self._version, None)
        return _Form(_features_in_order, "", layout)

    def _features_by_name(self, row: Row) -> str:
        values = dict(zip(self._feature_names, row, strict=True))
        if isinstance(row, RowWithMetadata):
            values = {**row.metadata, **values}
        return orjson.dumps(values).decode()

    def _sample_keys(self, count: int) -> list[int]:
        return [self._random.getrandbits(31) for _ in range(count)]


class ClassificationResponses(Responses):
    """Responds with the class that the model predicts, and the probability of each class."""

    def __init__(self, predictor: Predictor, model_id: int = SOLE_MODEL, layout_id: LayoutId | None = None) -> None:
        super().__init__(predictor, model_id, layout_id)
        classes = predictor.manifest.classes
        self._class_names = predictor.manifest.class_names
        self._json = {name: orjson.dumps(one).decode() for name, one in zip(self._class_names, classes, strict=True)}
        self._middles = [f'","prediction":{self._json[name]},"probabilities":' for name in self._class_names]

    def respond(self, rows: Sequence[Row]) -> Response:
        """Return the record and the JSON response of each row. Raises PredictionError or PayloadError."""
        probabilities, chosen = self._answers(rows)
        _check_finite(probabilities)
        places: list[int] = [] if chosen is None else chosen.tolist()
        shares = probabilities.round(PROBABILITY_DECIMALS).tolist()
        form = self._form()
        records, responses = [], []
        for row, index, share, key in zip(rows, places, shares, self._sample_keys(len(rows)), strict=True):
            prediction_id = row.prediction_id if isinstance(row, IdentifiedRow) else str(uuid_utils.uuid7())
            by_class = orjson.dumps(dict(zip(self._class_names, share, strict=True))).decode()
            logged_shares = by_class if form.layout is None else orjson.dumps(share).decode()
            logged = (form.features(row), self._class_names[index], logged_shares)
            log_key = prediction_key(self._model_id, prediction_id)
            records.append(PredictionRecord(log_key, key, form.version, *logged, self._model_id, form.layout))
            responses.append(f'{{"prediction_id":"{prediction_id}{self._middles[index]}{by_class}{self._end}'.encode())
        return records, responses

    def _prediction_json(self, text: str) -> str:
        return self._json.get(text) or orjson.dumps(text).decode()


class RegressionResponses(Responses):
    """Responds with the predicted number."""

    def respond(self, rows: Sequence[Row]) -> Response:
        """Return the record and the JSON response of each row. Raises PredictionError or NoFiniteAnswer."""
        numbers = self._answers(rows).values
        _check_finite(numbers)
        form = self._form()
        no_shares = NO_PROBABILITIES if form.layout is None else NO_SHARES
        records, responses = [], []
        for row, number, key in zip(rows, numbers.tolist(), self._sample_keys(len(rows)), strict=True):
            prediction_id = row.prediction_id if isinstance(row, IdentifiedRow) else str(uuid_utils.uuid7())
            text = number_text(number)
            logged = (form.features(row), text, no_shares)
            log_key = prediction_key(self._model_id, prediction_id)
            records.append(PredictionRecord(log_key, key, form.version, *logged, self._model_id, form.layout))
            responses.append(f'{{"prediction_id":"{prediction_id}","prediction":{text}{self._end}'.encode())
        return records, responses

    def _prediction_json(self, text: str) -> str:
        return text


def responses_for(predictor: AnyPredictor, model_id: int = SOLE_MODEL, layout_id: LayoutId | None = None) -> Responses:
    """Return the responses of this model, which has that id in the log."""
    if isinstance(predictor, Predictor):
        return ClassificationResponses(predictor, model_id, layout_id)
    return RegressionResponses(predictor, model_id, layout_id)


class _Form(NamedTuple):
    """How rows are logged: their features as JSON, the version to log beside them, and the id of their layout."""

    features: Callable[[Row], str]
    version: str
    layout: int | None


def _features_in_order(row: Row) -> str:
    """Return the values as a JSON array; what rides along is an object at its end."""
    if isinstance(row, RowWithMetadata) and row.metadata:
        return orjson.dumps([*row, row.metadata]).decode()
    return orjson.dumps(row).decode()


def number_text(number: float) -> str:
    """Return a finite number as it is logged, which is also JSON: the shortest text that parses as the same number."""
    return repr(number + 0.0)  # -0.0 and 0.0 are equal, so they get the same text


def _check_finite(answers: "np.ndarray") -> None:
    """Raise NoFiniteAnswer for rows whose prediction is not finite: JSON has only finite numbers."""
    if np.isfinite(answers).all():
        return
    finite = np.isfinite(answers.reshape(len(answers), -1)).all(axis=1)
    fields = [_row_path(index, len(finite)) for index in np.flatnonzero(~finite).tolist()]
    message = "the model has no finite number for this row; look for values far outside the training data"
    errors = tuple(FieldError(field, message, "no_finite_answer") for field in fields)
    raise NoFiniteAnswer(f"{fields[0]}: {message}", errors)


def _row_path(index: int, rows: int) -> str:
    return f"rows[{index}]" if rows > 1 else "body"


LabelValue = str | int | bool | float
"""A class as in JSON, or a finite number; the request's type ensures the right one."""

MAX_LISTED = 20


def label_texts(labels: Sequence[LabelValue], manifest: Manifest) -> list[str]:
    """Return the labels as they are logged. Raises UnknownClass."""
    if isinstance(manifest, ClassifierManifest):
        return _class_names(labels, manifest)
    return [number_text(float(label)) for label in labels]


def _class_names(labels: Sequence[LabelValue], manifest: ClassifierManifest) -> list[str]:
    known, names = KnownClasses(manifest.classes), manifest.class_names
    found = [known.place(label) for label in labels]
    unknown = (index for index, place in enumerate(found) if place is None)
    classes = f"is none of the classes {listed_classes(manifest)}"
    errors = tuple(
        FieldError(f"labels[{index}].label", f"{shortened(repr(labels[index]))} {classes}", "unknown_class")
        for index in islice(unknown, MAX_ERRORS)
    )
    if errors:
        raise UnknownClass(f"{errors[0].field}: {errors[0].message}", errors)
    return [names[place] for place in found if place is not None]


def listed_classes(manifest: ClassifierManifest) -> str:
    """Return the classes as an error names them."""
    names = manifest.class_names
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def answer_reader(manifest: Manifest) -> Callable[[str], LabelValue]:
    """Return what reads a logged prediction or label as the API returned it; a class of another version stays text."""
    if isinstance(manifest, ClassifierManifest):
        classes: dict[str, LabelValue] = dict(zip(manifest.class_names, manifest.classes, strict=True))
        return lambda text: classes.get(text, text)
    return float
