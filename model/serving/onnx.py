"""Converting a fitted pipeline into ONNX, and choosing the engine that serves: ONNX only where it answers alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from model.artifact.manifest import AnswerRule, Feature, Parity, RegressionParity
from model.data.dataset import AnyDataset, Dataset
from model.data.encoding import Row, onnx_inputs, rows_of
from model.errors import DataError, ModelError
from model.serving.engines import (
    AnyEngine,
    OnnxClassifier,
    OnnxRegressor,
    OwnRuleClassifier,
    PipelineClassifier,
    PipelineRegressor,
    answers_of,
)
from model.serving.parity import compare, compare_regression, no_parity, no_regression_parity, probing_rows


class ConversionError(ModelError):
    """The pipeline could not be turned into an ONNX model."""


def export_onnx(pipeline: Pipeline, features: tuple[Feature, ...], *, by_name: bool = False) -> bytes:
    """Return the pipeline as an ONNX model.

    Its outputs are `label` and `probabilities` (rows, classes), or `variable` (rows, 1) of a regressor. Where the
    pipeline chooses its columns by position, an all-numeric model takes one float32 matrix and any other one input per
    column; where it chooses them `by_name`, the inputs are named as the columns. Raises ConversionError. A model that
    converts may still predict something else: see `model.serving.parity`.
    """
    # Only training converts, and the converter takes seconds to import.
    from skl2onnx import to_onnx  # noqa: PLC0415

    last = pipeline.steps[-1][1]
    options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else None
    try:
        converted = to_onnx(pipeline, initial_types=onnx_inputs(features, by_name=by_name), options=options)
    except Exception as error:
        # skl2onnx raises many kinds, by model; each means the same: scikit-learn serves
        first = str(error).strip().partition("\n")[0][:120]
        raise ConversionError(f"{type(error).__name__}: {first}") from error
    return bytes(converted.SerializeToString())


@dataclass(frozen=True)
class Engines:
    """The fitted pipeline, its ONNX model, the engine that serves, and what decides its answer."""

    pipeline: Pipeline
    onnx: bytes | None
    parity: Parity | RegressionParity
    serving: AnyEngine
    answer: AnswerRule = "most probable"


def pipeline_engine(pipeline: Pipeline, dataset: AnyDataset) -> PipelineClassifier | PipelineRegressor:
    """Return the scikit-learn engine of a fitted pipeline."""
    if isinstance(dataset, Dataset):
        return PipelineClassifier(pipeline, dataset.features)
    return PipelineRegressor(pipeline, dataset.features)


def convert(pipeline: Pipeline, dataset: AnyDataset, convertible: Pipeline | None = None) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row.

    It is tried with columns by position and by name. `convertible` is what is turned, if not the pipeline itself.
    """
    fallback = pipeline_engine(pipeline, dataset)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    if isinstance(fallback, PipelineClassifier) and (others := _other_answers(pipeline, dataset, probes)):
        reason = f"the model's own predict decides: on {others} of {len(probes)} rows it is not the most probable class"
        serving = OwnRuleClassifier(pipeline, dataset.features)
        return Engines(pipeline, None, no_parity(reason), serving, "own predict")
    reasons: list[Parity | RegressionParity] = []
    for by_name in (False, True):
        try:
            content = export_onnx(convertible or pipeline, dataset.features, by_name=by_name)
            candidate, parity = _compared(content, fallback, dataset, probes)
        except ConversionError as error:
            reason = f"the pipeline does not convert: {error}"
            reasons.append(no_parity(reason) if isinstance(dataset, Dataset) else no_regression_parity(reason))
            continue
        if parity.reason is None:
            return Engines(pipeline, content, parity, candidate)
        reasons.append(parity)
    # what was compared says more than what could not be
    reported = max(reasons, key=lambda parity: parity.rows)
    return Engines(pipeline, None, reported, fallback)


def _other_answers(pipeline: Pipeline, dataset: AnyDataset, probes: Sequence[Row]) -> int:
    """Return on how many rows the pipeline itself predicts another class than the most probable one.

    Raises DataError where it cannot be asked.
    """
    engine = OwnRuleClassifier(pipeline, dataset.features)
    try:
        probabilities, chosen = answers_of(engine, probes)
    except Exception as error:
        # a person's own pipeline may raise anything
        raise DataError(
            f"the pipeline has probabilities, but its predict fails: {type(error).__name__}: {error}; predict must "
            "work, because the API answers what it says"
        ) from error
    return int((chosen != probabilities.argmax(axis=1)).sum())


def _compared(
    content: bytes, fallback: PipelineClassifier | PipelineRegressor, dataset: AnyDataset, probes: Sequence[Row]
) -> tuple[AnyEngine, Parity | RegressionParity]:
    if isinstance(fallback, PipelineClassifier):
        classifier = OnnxClassifier(content, dataset.features)
        return classifier, compare(classifier, fallback, probes, known_rows=len(dataset.frame))
    regressor = OnnxRegressor(content, dataset.features)
    return regressor, compare_regression(regressor, fallback, probes, float(dataset.targets.std()))
