"""The model that this process serves now."""

from collections.abc import Callable, Sequence
from typing import Any

from api.prediction_log.records import SOLE_MODEL, PredictionRecord
from api.serving.responses import LayoutId, Row, responses_for
from model.artifact.manifest import Manifest
from model.serving.predictor import AnyPredictor

ChangeListener = Callable[[AnyPredictor], None]


class ServedModel:
    """Responds with one model until another replaces it; safe to share between threads.

    Rows that are predicted together are all predicted by the same model, even if it is replaced meanwhile. ``model_id``
    is its id in the log, and ``layout_id`` gives layouts theirs.
    """

    def __init__(self, predictor: AnyPredictor, model_id: int = SOLE_MODEL, layout_id: LayoutId | None = None) -> None:
        self.model_id = model_id
        self._layout_id = layout_id
        self._responses = responses_for(predictor, model_id, layout_id)
        self._listeners: list[ChangeListener] = []

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model that serves now."""
        return self._responses.manifest

    def respond(self, rows: Sequence[Row]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return the record to log and the JSON response of each row. Raises PredictionError or NoFiniteAnswer."""
        return self._responses.respond(rows)

    def unanswered(self, row: Row) -> PredictionRecord:
        """Return what would be logged of a row with an id of the caller's own, without an answer."""
        return self._responses.unanswered(row)

    def record(self, rows: Sequence[Any]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return the record to log of each row with the answer that it brings along, and its id as JSON."""
        return self._responses.record(rows)

    def repeat(self, record: PredictionRecord) -> bytes:
        """Return the JSON response to a row again, from what was logged of it."""
        return self._responses.repeat(record)

    def on_change(self, listener: ChangeListener) -> None:
        """Call ``listener`` with each new model, right after it has replaced the old one."""
        self._listeners.append(listener)

    def replace(self, predictor: AnyPredictor) -> None:
        """Serve another model from now on; it must take the same rows and labels."""
        self._responses = responses_for(predictor, self.model_id, self._layout_id)
        for listener in self._listeners:
            listener(predictor)
