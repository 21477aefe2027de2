"""Owns what happens between a request and its answer: predict, log, and only then answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbits

import numpy as np
import orjson
import uuid_utils

from api.errors import FieldError, UnknownClass
from api.metrics import Metrics
from api.prediction_log.records import LabelReceipt, LabelRecord, PredictionRecord
from api.prediction_log.writer import LogWriter
from api.security.rates import charge_rows
from model.manifest import Manifest, Value
from model.predictor import Predictor

PROBABILITY_DECIMALS = 6
"""The served model computes in single precision, which carries no more than these."""
ROWS_ON_THE_LOOP = 64
"""The ONNX model predicts this many rows in less time than a hop to a thread and back takes."""

ClassValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one row; ``probabilities`` are by class name."""

    prediction_id: str
    prediction: ClassValue
    probabilities: dict[str, float]
    model_version: str


class DataPlane:
    """Predicts and logs: an answer is given once its row is committed."""

    def __init__(self, predictor: Predictor, writer: LogWriter, metrics: Metrics) -> None:
        self._predictor = predictor
        self._writer = writer
        self._metrics = metrics
        self._names = self.manifest.class_names
        self._by_name = dict(zip(self._names, self.manifest.classes, strict=True))

    @property
    def manifest(self) -> Manifest:
        """What is known of the model."""
        return self._predictor.manifest

    async def predict(self, rows: Sequence[Sequence[Value]]) -> list[Answer]:
        """Predict rows given in schema order, and return once all are logged.

        Raises LogOverloaded or LogUnavailable; then none of the rows is answered.
        """
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        probabilities = await self._probabilities(rows)
        best = probabilities.argmax(axis=1).tolist()
        rounded = probabilities.round(PROBABILITY_DECIMALS).tolist()
        version, classes = self.manifest.version, self.manifest.classes
        answers = [
            Answer(str(uuid_utils.uuid7()), classes[index], dict(zip(self._names, row, strict=True)), version)
            for index, row in zip(best, rounded, strict=True)
        ]
        await self._writer.log_predictions(
            [self._record(row, answer) for row, answer in zip(rows, answers, strict=True)]
        )
        self._metrics.predicted_rows.inc(len(answers))
        return answers

    async def give_labels(self, labels: Sequence[tuple[str, ClassValue]]) -> LabelReceipt:
        """Store pairs of prediction id and true class.

        Raises UnknownClass, LogOverloaded or LogUnavailable; then nothing is stored.
        """
        charge_rows(len(labels))
        errors = tuple(
            FieldError(f"labels[{number}].label", f"{label!r} is none of the classes {self._listed}", "unknown_class")
            for number, (_, label) in enumerate(labels)
            if str(label) not in self._by_name
        )
        if errors:
            raise UnknownClass(f"{errors[0].field}: {errors[0].message}", errors)
        receipt = await self._writer.log_labels([LabelRecord(key, str(label)) for key, label in labels])
        self._metrics.stored_labels.inc(receipt.accepted)
        return receipt

    async def check(self) -> None:
        """Return if the log can be written. Raises LogUnavailable."""
        await self._writer.check()

    @property
    def _listed(self) -> str:
        names = self._names
        return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")

    async def _probabilities(
        self, rows: Sequence[Sequence[Value]]
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        if self._predictor.engine == "onnx" and len(rows) <= ROWS_ON_THE_LOOP:
            return self._predictor.predict(rows)
        return await asyncio.to_thread(self._predictor.predict, rows)

    def _record(self, row: Sequence[Value], answer: Answer) -> PredictionRecord:
        features = dict(zip(self.manifest.feature_names, row, strict=True))
        return PredictionRecord(
            answer.prediction_id,
            randbits(31),
            answer.model_version,
            orjson.dumps(features).decode(),
            str(answer.prediction),
            orjson.dumps(answer.probabilities).decode(),
        )
