"""Owns the model that this process serves now: one place that all who need it look at, and that changes at once."""

from collections.abc import Callable, Sequence

from api.answers import Row, answers_of
from api.prediction_log.records import PredictionRecord
from model.manifest import Manifest
from model.predictor import AnyPredictor

Told = Callable[[AnyPredictor], None]


class ServedModel:
    """Answers with one model until another is put in its place; may be shared by threads.

    A group of rows that is being answered is answered by one model to its end, whatever is put in place meanwhile.
    """

    def __init__(self, predictor: AnyPredictor) -> None:
        self._answers = answers_of(predictor)
        self._told: list[Told] = []

    @property
    def manifest(self) -> Manifest:
        """What is known of the model that serves now."""
        return self._answers.manifest

    def make(self, rows: Sequence[Row]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return what to log of each row, and the answer to it as JSON. Raises PredictionError or NoFiniteAnswer."""
        return self._answers.make(rows)

    def tell(self, told: Told) -> None:
        """Have ``told`` called with each model that is put in place, right after that."""
        self._told.append(told)

    def put(self, predictor: AnyPredictor) -> None:
        """Serve another model from now on; it must take the same rows and labels."""
        self._answers = answers_of(predictor)
        for told in self._told:
            told(predictor)
