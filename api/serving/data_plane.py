"""Predicts and logs: the path from a request's rows or labels to the response."""

from asyncio import CancelledError
from collections.abc import Sequence
from time import perf_counter

from api.metrics import Metrics
from api.prediction_log.records import LabelReceipt, LabelRecord, prediction_key, public_id
from api.prediction_log.writer import LogWriter
from api.security.rate_limit import charge_rows
from api.serving.responses import LabelValue, Row, label_texts
from api.serving.served_model import ServedModel
from api.version_metrics import VersionMetrics
from model.artifact.manifest import Manifest


class DataPlane:
    """Predicts and logs rows, and stores labels; a response is returned only after its row is committed."""

    def __init__(self, served: ServedModel, writer: LogWriter, metrics: Metrics) -> None:
        self._served = served
        self._writer = writer
        self._metrics = metrics
        self._versions: VersionMetrics = metrics.of_versions

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model that serves now; fields and labels stay the same as long as the process lives."""
        return self._served.manifest

    async def predict(self, rows: Sequence[Row]) -> Sequence[bytes]:
        """Predict rows, each in schema order, and return the JSON response of each once all are logged.

        Raises NoFiniteAnswer, LogOverloaded or LogUnavailable; then there is no response to any of the rows.
        """
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        served, began, failed = self.manifest, perf_counter(), True
        try:
            responses = await self._writer.log_responses(rows, self._served.respond)
            failed = False
        except CancelledError:
            failed = False  # the caller hung up: not the version's fault
            raise
        finally:
            self._versions.observe(served.name, served.version, perf_counter() - began, failed=failed)
        self._metrics.count_predictions(len(responses))
        return responses

    async def store_labels(self, labels: Sequence[tuple[str, LabelValue]]) -> LabelReceipt:
        """Store pairs of prediction id and label.

        Raises UnknownClass, LogOverloaded or LogUnavailable; then nothing is stored.
        """
        charge_rows(len(labels))
        texts = label_texts([label for _, label in labels], self.manifest)
        keys = [prediction_key(self._served.model_id, prediction_id) for prediction_id, _ in labels]
        receipt = await self._writer.log_labels(list(map(LabelRecord, keys, texts)))
        self._metrics.count_labels(receipt.accepted)
        return LabelReceipt(receipt.accepted, tuple(map(public_id, receipt.unknown)))

    async def check(self) -> None:
        """Return if the log can be written. Raises LogUnavailable."""
        await self._writer.check()
