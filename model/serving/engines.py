"""The two engines that can answer for a model: ONNX Runtime and scikit-learn."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.artifact.manifest import Feature, Value
from model.errors import PredictionError

if TYPE_CHECKING:
    import pandas as pd


Row = Sequence[Value]
Probabilities = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64]

MISSING_TEXT = ""
"""How the models are handed a missing category or boolean: ONNX text has no null."""

_LARGEST = float(np.finfo(np.float32).max)


ONE_MATRIX = "rows"
"""The ONNX input of a model that takes all its columns as one float32 matrix."""


def input_name(place: int) -> str:
    """Return the ONNX input of a column of a pipeline that knows its columns by position."""
    return f"column_{place}"


@runtime_checkable
class Classifier(Protocol):
    """What turns rows into probabilities, (rows, classes), float64, each row adding up to 1."""

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:
        """Return the class probabilities of rows in the order of the schema; raises PredictionError."""


@runtime_checkable
class Regressor(Protocol):
    """What turns rows into numbers, float64 (rows,), in the unit of the target."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers of rows in the order of the schema; raises PredictionError."""


Answering = Classifier | Regressor
"""Either kind; `isinstance` tells which."""


def answers_of(answering: Answering, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Return the probabilities (rows, classes) or the numbers (rows,) of rows; raises PredictionError."""
    return answering.probabilities(rows) if isinstance(answering, Classifier) else answering.numbers(rows)


class _OnnxModel:
    """An ONNX model in a session of ONNX Runtime, which several threads may use at once."""

    def __init__(self, content: bytes, features: tuple[Feature, ...], threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; warnings about graph optimisation are no news to anyone
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs: list[str] = [node.name for node in self._session.get_inputs()]
        self._features = features
        self._one_matrix = self._inputs == [ONE_MATRIX]
        # an input that no operator needs is not in the model; else the order tells, as the converter changes names
        self._fed = self._inputs if len(self._inputs) == len(features) else [feature.name for feature in features]

    def _run(self, output: str, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        feeds: dict[str, npt.NDArray[Any]]
        if self._one_matrix:
            feeds = {ONE_MATRIX: number_array(rows).astype(np.float32)}
        else:
            feeds = dict(zip(self._fed, self._columns(rows), strict=True))
            if len(feeds) > len(self._inputs):
                feeds = {name: feeds[name] for name in self._inputs}
        return np.asarray(self._session.run([output], feeds)[0], dtype=np.float64)

    def _columns(self, rows: Sequence[Row]) -> list[npt.NDArray[Any]]:
        columns = zip(*rows, strict=True)
        return [
            number_array([values]).astype(np.float32).reshape(-1, 1)
            if feature.type == "number"
            else np.array([text_value(value) for value in values], dtype=object).reshape(-1, 1)
            for feature, values in zip(self._features, columns, strict=True)
        ]


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
        frame = _frame(rows, self._features)
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


def _frame(rows: Sequence[Row], features: tuple[Feature, ...]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - only where scikit-learn serves

    columns = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            feature.name: number_array([values]).ravel()
            if feature.type == "number"
            else np.array([text_value(value) for value in values], dtype=object)
            for feature, values in zip(features, columns, strict=True)
        }
    )


def load_pipeline(content: bytes) -> Any:
    """Return the pipeline in the bytes of a joblib file, which must be verified ones: loading runs code."""
    import joblib  # noqa: PLC0415 - only where scikit-learn answers

    return joblib.load(BytesIO(content))


def number_array(rows: Sequence[Sequence[Value]]) -> npt.NDArray[np.float64]:
    """Return values as a matrix with NaN for None; raises PredictionError.

    Numbers beyond float32, which the trees compare in, become the largest one: no split tells them apart.
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PredictionError(f"a number column holds something else: {error}") from error
    return np.clip(matrix, -_LARGEST, _LARGEST)


def text_value(value: Value) -> str:
    """Return a category or boolean as the pipeline takes it: "" for a missing one."""
    return MISSING_TEXT if value is None else str(value)
