"""The two engines that can compute predictions: ONNX Runtime and scikit-learn."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.artifact.manifest import PREDICTION, PROBABILITY_PREFIX, Feature
from model.data.encoding import Row, encoding_of, number_matrix, pipeline_frame, text_features

if TYPE_CHECKING:
    import pandas as pd


Probabilities = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64]


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


def predictions_of(engine: AnyEngine, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Return the probabilities (rows, classes) or the numbers (rows,) of rows; raises PredictionError."""
    return engine.probabilities(rows) if isinstance(engine, Classifier) else engine.numbers(rows)


def with_predictions(
    frame: "pd.DataFrame", answers: npt.NDArray[np.float64], class_names: Sequence[str] | None
) -> "pd.DataFrame":
    """Return rows with a model's answers to them, in the columns of the artifact and of a window.

    The answers are those of `predictions_of`; of classes in the order of `class_names`, which is None for numbers.
    """
    if class_names is None:
        return frame.assign(**{PREDICTION: answers.reshape(len(frame))})
    places = answers.argmax(axis=1) if len(frame) else np.empty(0, dtype=np.int64)
    columns = {PREDICTION: np.array(class_names, dtype=object)[places]}
    columns |= {f"{PROBABILITY_PREFIX}{name}": answers[:, place] for place, name in enumerate(class_names)}
    return frame.assign(**columns)


class _OnnxModel:
    """An ONNX model in a session of ONNX Runtime, which several threads may use at once."""

    def __init__(self, content: bytes, features: tuple[Feature, ...], threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; warnings about graph optimisation help nobody
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs: list[str] = [node.name for node in self._session.get_inputs()]
        self._features = features
        self._one_matrix = self._inputs == [ONE_MATRIX]
        # the converter leaves out inputs that no operator needs; where all are there, their order says which is which
        self._fed = self._inputs if len(self._inputs) == len(features) else [feature.name for feature in features]

    def _run(self, output: str, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        feeds: dict[str, npt.NDArray[Any]]
        if self._one_matrix:
            feeds = {ONE_MATRIX: number_matrix(rows).astype(np.float32)}
        else:
            feeds = dict(zip(self._fed, onnx_columns(rows, self._features), strict=True))
            if len(feeds) > len(self._inputs):
                feeds = {name: feeds[name] for name in self._inputs}
        return np.asarray(self._session.run([output], feeds)[0], dtype=np.float64)


class OnnxClassifier(_OnnxModel):
    """The ONNX model of a classifier."""

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""
        # float32 sums differ from 1 and 0 in the eighth digit, to either side
        raw = np.maximum(self._run("probabilities", rows), 0.0)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))


class OnnxRegressor(_OnnxModel):
    """The ONNX model of a regressor."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""
        return self._run("variable", rows).ravel()


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

    def _answers(self, method: Callable[["pd.DataFrame"], Any], rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        frame = pipeline_frame(rows, self._features)
        # absurd numbers overflow in the sums by which scikit-learn looks for infinity; they are answered all the same
        with np.errstate(over="ignore", invalid="ignore"), self._bounded():
            return np.asarray(method(frame), dtype=np.float64)


class PipelineClassifier(_PipelineModel):
    """The scikit-learn pipeline of a classifier itself."""

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""
        return self._answers(self._pipeline.predict_proba, rows)


class PipelineRegressor(_PipelineModel):
    """The scikit-learn pipeline of a regressor itself."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""
        answers = self._answers(self._pipeline.predict, rows)
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
    return [encoding_of(feature).onnx_values(values) for feature, values in columns]
