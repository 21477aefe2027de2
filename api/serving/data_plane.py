"""Predicts and logs: the path from a request's rows or labels to the response."""

from asyncio import CancelledError
from collections.abc import Sequence
from time import perf_counter

from api.errors import IdInUse, PayloadError
from api.metrics import Metrics
from api.model_metrics import VersionMetrics
from api.prediction_log.inserts import same_row
from api.prediction_log.records import (
    LabelReceipt,
    LabelRecord,
    PredictionRecord,
    prediction_key,
    public_id,
)
from api.prediction_log.writer import LogWriter
from api.security.rate_limit import charge_rows
from api.serving.logged_predictions import LogBody, receipt, same_answer
from api.serving.responses import IdentifiedRow, LabelValue, Row, label_texts
from api.serving.served_model import ServedModel
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

        Where all are of type IdentifiedRow, a row that was logged before has the response that it had then. Raises
        NoFiniteAnswer, IdInUse, LogOverloaded or LogUnavailable; then there is no response to any of the rows.
        """
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        served, began, failed = self.manifest, perf_counter(), True
        try:
            responses, new = await self._logged(rows)
            failed = False
        except (CancelledError, IdInUse):
            failed = False  # the caller hung up, or erred: not the version's fault
            raise
        finally:
            self._versions.observe(served.name, served.version, perf_counter() - began, failed=failed)
        self._metrics.count_predictions(new)
        return responses

    async def log(self, body: LogBody) -> bytes:
        """Log predictions that were made elsewhere, with the labels that came along, and return the receipt as JSON.

        All of it is in one commit. What was logged before, with the same id, row and answer, is not logged again.
        Raises PayloadError, IdInUse, LogOverloaded or LogUnavailable; then nothing is logged.
        """
        rows, served = body.rows(), self._served
        self._metrics.observe_request_rows(len(rows))
        charge_rows(len(rows))
        version = self.manifest.version
        keys = [prediction_key(served.model_id, row.prediction_id) for row in rows]
        labels = [LabelRecord(keys[place], text) for place, text in body.labels()]
        found = await self._writer.log_own(rows, same_answer, served.record, labels)
        new = sum(isinstance(one, bytes) for one in found)
        self._metrics.count_predictions(new)
        self._metrics.count_labels(len(labels))
        return receipt(rows, new, len(labels), version)

    async def _logged(self, rows: Sequence[Row]) -> tuple[Sequence[bytes], int]:
        """Return the responses once all rows are logged, and how many of these are new."""
        if not isinstance(rows[0], IdentifiedRow):
            return await self._writer.log_responses(rows, self._served.respond), len(rows)
        found: Sequence[bytes | PredictionRecord]
        try:
            found = await self._writer.log_own(rows, same_row, self._served.respond)
        except PayloadError:
            # this version of the model refuses a row that another one may have answered
            logged = await self._writer.find(sent := [self._served.unanswered(row) for row in rows])
            if not all(one.prediction_id in logged and same_row(logged[one.prediction_id], one) for one in sent):
                raise
            found = [logged[one.prediction_id] for one in sent]
        responses = [self._served.repeat(one) if isinstance(one, PredictionRecord) else one for one in found]
        return responses, sum(isinstance(one, bytes) for one in found)

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
