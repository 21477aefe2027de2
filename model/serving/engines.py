"""The two engines that can compute predictions: ONNX Runtime and scikit-learn."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.artifact.manifest import PREDICTION, PROBABILITY_PREFIX, Feature
from model.data.cells import LARGEST_NUMBER, number_matrix
from model.data.encoding import Row, clipped, encoding_of, pipeline_frame, text_features
from model.errors import PredictionError, ServedElsewhereError

if TYPE_CHECKING:
    import pandas as pd


Probabilities = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

PROBABILITY_TOLERANCE = 0.02
"""How far from 1 the probabilities of a row may add up, where another program has rounded them."""
TIE = 1e-6
"""Two best classes nearer than float32 resolves are a tie, of which scikit-learn answers the first."""


@runtime_checkable
class Classifier(Protocol):
    """An engine that turns rows into probabilities, (rows, classes), float64, each row adding up to 1."""

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""


@runtime_checkable
class Regressor(Protocol):
    """An engine that turns rows into numbers, float64 (rows,), in the unit of the target."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""


AnyEngine = Classifier | Regressor
"""Either kind; `isinstance` tells which."""


@runtime_checkable
class Chooser(Protocol):
    """A classifier that says which class it answers with; of any other it is the most probable one."""

    def chosen(self, rows: Sequence[Row], probabilities: Probabilities) -> Codes:
        """Return the place of each row's class, (rows,), given the probabilities of the rows."""


class Answers(NamedTuple):
    """A model's answers to rows: probabilities (rows, classes), or numbers (rows,).

    Of classes, `chosen` holds the place of the one that is answered, (rows,).
    """

    values: npt.NDArray[np.float64]
    chosen: Codes | None = None

    def first(self, rows: int) -> "Answers":
        """Return the answers to the first rows."""
        return self.at(np.arange(rows))

    def at(self, places: npt.NDArray[np.intp]) -> "Answers":
        """Return the answers to the rows at these places."""
        return Answers(self.values[places], None if self.chosen is None else self.chosen[places])


def answers_of(engine: AnyEngine, rows: Sequence[Row]) -> Answers:
    """Return the answers to rows; raises PredictionError."""
    if not isinstance(engine, Classifier):
        return Answers(engine.numbers(rows))
    return classes_of(engine, chooser_of(engine), rows)


def chooser_of(classifier: Classifier) -> Chooser | None:
    """Return the classifier where it says itself which class it answers with. To ask costs as much as a prediction."""
    return classifier if isinstance(classifier, Chooser) else None


def classes_of(classifier: Classifier, chooser: Chooser | None, rows: Sequence[Row]) -> Answers:
    """Return the answers of a classifier and its chooser to rows; raises PredictionError."""
    values = classifier.probabilities(rows)
    return Answers(values, values.argmax(axis=1) if chooser is None else chooser.chosen(rows, values))


def predictions_of(engine: AnyEngine, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Return the probabilities (rows, classes) or the numbers (rows,) of rows; raises PredictionError."""
    return engine.probabilities(rows) if isinstance(engine, Classifier) else engine.numbers(rows)


def with_predictions(
    frame: "pd.DataFrame", answers: Answers | npt.NDArray[np.float64], class_names: Sequence[str] | None
) -> "pd.DataFrame":
    """Return rows with a model's answers to them, in the columns of the artifact and of a window.

    The answers are those of `answers_of`, or probabilities or numbers alone, where the most probable class is the
    answer; of classes in the order of `class_names`, which is None for numbers.
    """
    values, chosen = answers if isinstance(answers, Answers) else Answers(answers)
    if class_names is None:
        return frame.assign(**{PREDICTION: values.reshape(len(frame))})
    if chosen is None:
        chosen = values.argmax(axis=1) if len(frame) else np.empty(0, dtype=np.int64)
    columns = {PREDICTION: np.array(class_names, dtype=object)[chosen]}
    columns |= {f"{PROBABILITY_PREFIX}{name}": values[:, place] for place, name in enumerate(class_names)}
    return frame.assign(**columns)


class ElsewhereEngine:
    """Stands for the engine of a model that another program serves: it answers nothing."""

    def __init__(self, name: str) -> None:
        self._error = f"the model {name} is served elsewhere and only watched here, so it predicts nothing here"

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Raise ServedElsewhereError."""
        del rows
        raise ServedElsewhereError(self._error)

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Raise ServedElsewhereError."""
        del rows
        raise ServedElsewhereError(self._error)


class _OnnxModel:
    """An ONNX model in a session of ONNX Runtime, which several threads may use at once.

    Raises ValueError where its inputs are not the features, or its answer is missing.
    """

    _output: str

    def __init__(self, content: bytes, features: tuple[Feature, ...], threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; warnings about graph optimisation help nobody
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs: list[str] = [node.name for node in self._session.get_inputs()]
        self._features = features
        self._one_matrix = self._inputs == [ONE_MATRIX]
        self._limits = matrix_limits(features)
        if self._output not in {node.name for node in self._session.get_outputs()}:
            raise ValueError(f"it has no output {self._output!r}")
        if not self._one_matrix and len(self._inputs) > len(features):
            raise ValueError(f"it takes {len(self._inputs)} inputs, and the model has {len(features)} features")
        # the converter leaves out inputs that no operator needs; where all are there, their order says which is which
        self._fed = self._inputs if len(self._inputs) == len(features) else [feature.name for feature in features]

    def _run(self, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        feeds: dict[str, npt.NDArray[Any]]
        if self._one_matrix:
            feeds = {ONE_MATRIX: number_matrix(rows, *self._limits).astype(np.float32)}
        else:
            feeds = dict(zip(self._fed, onnx_columns(rows, self._features), strict=True))
            if len(feeds) > len(self._inputs):
                feeds = {name: feeds[name] for name in self._inputs}
        return np.asarray(self._session.run([self._output], feeds)[0], dtype=np.float64)


class OnnxClassifier(_OnnxModel):
    """The ONNX model of a classifier."""

    _output = "probabilities"

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""
        # float32 sums differ from 1 and 0 in the eighth digit, to either side
        raw = np.maximum(self._run(rows), 0.0)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def chosen(self, rows: Sequence[Row], probabilities: Probabilities) -> Codes:
        """Return the place of the most probable class; in a tie, which float32 blurs, the first one's."""
        del rows
        return np.asarray((probabilities >= probabilities.max(axis=1, keepdims=True) - TIE).argmax(axis=1))


class OnnxRegressor(_OnnxModel):
    """The ONNX model of a regressor."""

    _output = "variable"

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""
        return self._run(rows).ravel()


class _PipelineModel:
    """A scikit-learn pipeline, with ``threads`` of OpenMP for each computation, or as many as there are cores.

    The threads of one computation wait for each other, spinning: for a few rows they double its cost, and where others
    want the cores each may have to wait for its turn.
    """

    def __init__(self, pipeline: Any, features: tuple[Feature, ...], threads: int | None = None) -> None:
        self._pipeline = pipeline
        self._features = features
        self._bounded: Callable[[], AbstractContextManager[object]] = nullcontext
        if threads is not None:
            from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - only where scikit-learn serves

            openmp = ThreadpoolController().select(user_api="openmp")
            self._bounded = partial(openmp.limit, limits=threads)

    def _answers(self, method: Callable[["pd.DataFrame"], Any], rows: Sequence[Row]) -> npt.NDArray[Any]:
        frame = pipeline_frame(rows, self._features)
        # absurd numbers overflow in the sums by which scikit-learn looks for infinity; they are answered all the same
        with np.errstate(over="ignore", invalid="ignore"), self._bounded():
            return np.asarray(method(frame))


class PipelineClassifier(_PipelineModel):
    """The scikit-learn pipeline of a classifier itself."""

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""
        return as_probabilities(self._answers(self._pipeline.predict_proba, rows))


class OwnRuleClassifier(PipelineClassifier):
    """A pipeline whose own `predict` decides, which need not be the most probable class."""

    def chosen(self, rows: Sequence[Row], probabilities: Probabilities) -> Codes:
        """Return the place of the class that the pipeline predicts; raises PredictionError for what is no class."""
        del probabilities
        return predicted_codes(self._answers(self._pipeline.predict, rows), self._pipeline.classes_)


def as_probabilities(raw: npt.NDArray[Any]) -> Probabilities:
    """Return probabilities as float64, (rows, classes); those that a library computed in float32 then add up to 1."""
    values = raw.astype(np.float64)
    return values if raw.dtype == np.float64 else values / values.sum(axis=1, keepdims=True)


def predicted_codes(predicted: npt.NDArray[Any], classes: Sequence[Any]) -> Codes:
    """Return the places of predicted classes, (rows,), among all classes; raises PredictionError.

    Libraries differ in how they hold a class: as text, as a float, in a column of its own.
    """
    places = {_class_text(one): place for place, one in enumerate(np.asarray(classes).tolist())}
    try:
        return np.array([places[_class_text(one)] for one in predicted.ravel().tolist()], dtype=np.int64)
    except KeyError as error:
        raise PredictionError(f"the model predicts {error.args[0]!r}, which is none of its classes") from error


def _class_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class PipelineRegressor(_PipelineModel):
    """The scikit-learn pipeline of a regressor itself."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""
        answers = self._answers(self._pipeline.predict, rows).astype(np.float64)
        return answers.reshape(len(rows), -1)[:, 0] if answers.size == len(rows) else answers


ONE_MATRIX = "rows"
"""The ONNX input of a model that takes all its columns as one float32 matrix."""


def onnx_inputs(features: Sequence[Feature], *, by_name: bool) -> list[tuple[str, Any]]:
    """Return name and type of the inputs for the ONNX converter.

    They are named as the columns where a pipeline chooses its columns `by_name`. Else there is one matrix where all
    columns are numbers, and an input per column, named by its position, where they are not.
    """
    if not by_name and not text_features(features):
        return [(ONE_MATRIX, encoding_of(features[0]).onnx_type(len(features)))]
    return [
        (feature.name if by_name else f"column_{place}", encoding_of(feature).onnx_type(1))
        for place, feature in enumerate(features)
    ]


def onnx_columns(rows: Sequence[Row], features: Sequence[Feature]) -> list[npt.NDArray[Any]]:
    """Return rows as the inputs of an ONNX model that takes one per column; raises PredictionError."""
    columns = zip(features, zip(*rows, strict=True), strict=True)
    return [clipped(encoding_of(feature).onnx_values(values), feature) for feature, values in columns]


def matrix_limits(features: Sequence[Feature]) -> tuple[Numbers, Numbers]:
    """Return the lowest and the highest number that a model takes for each feature, each (features,)."""
    widest = (-LARGEST_NUMBER, LARGEST_NUMBER)
    limits = np.array([feature.clip or widest for feature in features], dtype=np.float64).reshape(-1, 2)
    low, high = np.clip(limits, *widest).T
    return low, high
