"""The model that this process serves now."""

from collections.abc import Callable, Sequence

from api.prediction_log.records import SOLE_MODEL, PredictionRecord
from api.serving.responses import Row, responses_for
from model.artifact.manifest import Manifest
from model.serving.predictor import AnyPredictor

ChangeListener = Callable[[AnyPredictor], None]


class ServedModel:
    """Responds with one model until another replaces it; safe to share between threads.

    Rows that are predicted together are all predicted by the same model, even if it is replaced meanwhile. ``model_id``
    is its id in the log.
    """

    def __init__(self, predictor: AnyPredictor, model_id: int = SOLE_MODEL) -> None:
        self.model_id = model_id
        self._responses = responses_for(predictor, model_id)
        self._listeners: list[ChangeListener] = []

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model that serves now."""
        return self._responses.manifest

    def respond(self, rows: Sequence[Row]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return the record to log and the JSON response of each row. Raises PredictionError or NoFiniteAnswer."""
        return self._responses.respond(rows)

    def on_change(self, listener: ChangeListener) -> None:
        """Call ``listener`` with each new model, right after it has replaced the old one."""
        self._listeners.append(listener)

    def replace(self, predictor: AnyPredictor) -> None:
        """Serve another model from now on; it must take the same rows and labels."""
        self._responses = responses_for(predictor, self.model_id)
        for listener in self._listeners:
            listener(predictor)
