"""From a request to its answer: predict, log, and only then answer."""

from collections.abc import Sequence

from api.metrics import Metrics
from api.prediction_log.records import LabelReceipt, LabelRecord
from api.prediction_log.writer import LogWriter
from api.security.rate_limit import charge_rows
from api.serving.responses import LabelValue, Row, label_texts
from api.serving.served_model import ServedModel
from model.artifact.manifest import Manifest


class DataPlane:
    """Predicts and logs: an answer is given once its row is committed. The writer has what answers the rows."""

    def __init__(self, served: ServedModel, writer: LogWriter, metrics: Metrics) -> None:
        self._served = served
        self._writer = writer
        self._metrics = metrics

    @property
    def manifest(self) -> Manifest:
        """What is known of the model that serves now; its rows and labels stay of one kind while the process lives."""
        return self._served.manifest

    async def predict(self, rows: Sequence[Row]) -> Sequence[bytes]:
        """Predict rows given in schema order, and return the answer to each as JSON once all are logged.

        Raises NoFiniteAnswer, LogOverloaded or LogUnavailable; then none of the rows is answered.
        """
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        answers = await self._writer.log_responses(rows)
        self._metrics.count_predictions(len(answers))
        return answers

    async def give_labels(self, labels: Sequence[tuple[str, LabelValue]]) -> LabelReceipt:
        """Store pairs of prediction id and label.

        Raises UnknownClass, LogOverloaded or LogUnavailable; then nothing is stored.
        """
        charge_rows(len(labels))
        texts = label_texts([label for _, label in labels], self.manifest)
        records = [LabelRecord(key, text) for (key, _), text in zip(labels, texts, strict=True)]
        receipt = await self._writer.log_labels(records)
        self._metrics.count_labels(receipt.accepted)
        return receipt

    async def check(self) -> None:
        """Return if the log can be written. Raises LogUnavailable."""
        await self._writer.check()
