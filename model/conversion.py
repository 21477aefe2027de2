"""Which engine answers for a fitted pipeline: ONNX where it was proven to answer alike, else scikit-learn."""

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from model.classifiers import (
    Answering,
    OnnxClassifier,
    OnnxRegressor,
    PipelineClassifier,
    PipelineRegressor,
    Row,
)
from model.dataset import AnyDataset, Dataset
from model.manifest import NumberParity, Parity
from model.onnx_export import ConversionError, export_onnx
from model.parity import compare, compare_numbers, no_number_parity, no_parity, probing_rows, rows_of


@dataclass(frozen=True)
class Engines:
    """The fitted pipeline, what it was turned into, and which of the two answers."""

    pipeline: Pipeline
    onnx: bytes | None
    parity: Parity | NumberParity
    serving: Answering


def pipeline_engine(pipeline: Pipeline, dataset: AnyDataset) -> PipelineClassifier | PipelineRegressor:
    """Return scikit-learn as what answers."""
    if isinstance(dataset, Dataset):
        return PipelineClassifier(pipeline, dataset.features)
    return PipelineRegressor(pipeline, dataset.features)


def convert(pipeline: Pipeline, dataset: AnyDataset, convertible: Pipeline | None = None) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row.

    It is tried with columns by position and by name. `convertible` is what is turned, if not the pipeline itself.
    """
    fallback = pipeline_engine(pipeline, dataset)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    reasons: list[Parity | NumberParity] = []
    for by_name in (False, True):
        try:
            content = export_onnx(convertible or pipeline, dataset.features, by_name=by_name)
            candidate, parity = _compared(content, fallback, dataset, probes)
        except ConversionError as error:
            reason = f"the pipeline does not convert: {error}"
            reasons.append(no_parity(reason) if isinstance(dataset, Dataset) else no_number_parity(reason))
            continue
        if parity.reason is None:
            return Engines(pipeline, content, parity, candidate)
        reasons.append(parity)
    # what was compared says more than what could not be
    told = max(reasons, key=lambda parity: parity.rows)
    return Engines(pipeline, None, told, fallback)


def _compared(
    content: bytes, fallback: PipelineClassifier | PipelineRegressor, dataset: AnyDataset, probes: Sequence[Row]
) -> tuple[Answering, Parity | NumberParity]:
    if isinstance(fallback, PipelineClassifier):
        classifier = OnnxClassifier(content, dataset.features)
        return classifier, compare(classifier, fallback, probes)
    regressor = OnnxRegressor(content, dataset.features)
    return regressor, compare_numbers(regressor, fallback, probes, float(dataset.targets.std()))
