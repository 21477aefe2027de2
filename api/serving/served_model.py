"""The model that this process serves now."""

from collections.abc import Callable, Sequence

from api.prediction_log.records import PredictionRecord
from api.serving.responses import Row, responses_for
from model.artifact.manifest import Manifest
from model.serving.predictor import AnyPredictor

Told = Callable[[AnyPredictor], None]


class ServedModel:
    """Answers with one model until another is put in its place; may be shared by threads.

    A group of rows that is being answered is answered by one model to its end, whatever is put in place meanwhile.
    """

    def __init__(self, predictor: AnyPredictor) -> None:
        self._answers = responses_for(predictor)
        self._told: list[Told] = []

    @property
    def manifest(self) -> Manifest:
        """What is known of the model that serves now."""
        return self._answers.manifest

    def respond(self, rows: Sequence[Row]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return what to log of each row, and the answer to it as JSON. Raises PredictionError or NoFiniteAnswer."""
        return self._answers.respond(rows)

    def tell(self, told: Told) -> None:
        """Have ``told`` called with each model that is put in place, right after that."""
        self._told.append(told)

    def put(self, predictor: AnyPredictor) -> None:
        """Serve another model from now on; it must take the same rows and labels."""
        self._answers = responses_for(predictor)
        for told in self._told:
            told(predictor)
