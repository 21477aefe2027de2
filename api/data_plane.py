"""Owns what happens between a request and its answer: predict, log, and only then answer."""

from collections.abc import Sequence

from api.answers import Row
from api.errors import FieldError, UnknownClass
from api.metrics import Metrics
from api.prediction_log.records import LabelReceipt, LabelRecord
from api.prediction_log.writer import LogWriter
from api.security.rates import charge_rows
from api.served_model import ServedModel
from model.manifest import Manifest

ClassValue = str | int | bool


class DataPlane:
    """Predicts and logs: an answer is given once its row is committed. The writer has what answers the rows."""

    def __init__(self, served: ServedModel, writer: LogWriter, metrics: Metrics) -> None:
        self._served = served
        self._writer = writer
        self._metrics = metrics
        self._names = self.manifest.class_names
        self._by_name = dict(zip(self._names, self.manifest.classes, strict=True))

    @property
    def manifest(self) -> Manifest:
        """What is known of the model that serves now; its rows and classes stay the same while the process lives."""
        return self._served.manifest

    async def predict(self, rows: Sequence[Row]) -> Sequence[bytes]:
        """Predict rows given in schema order, and return the answer to each as JSON once all are logged.

        Raises LogOverloaded or LogUnavailable; then none of the rows is answered.
        """
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        answers = await self._writer.log_answers(rows)
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
