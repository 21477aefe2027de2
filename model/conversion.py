"""Which engine answers for a fitted pipeline: ONNX where it was proven to answer alike, else scikit-learn."""

from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from model.classifiers import Classifier, OnnxClassifier, PipelineClassifier
from model.dataset import Dataset
from model.manifest import Parity
from model.onnx_export import ConversionError, export_onnx
from model.parity import compare, no_parity, probing_rows, rows_of


@dataclass(frozen=True)
class Engines:
    """The fitted pipeline, what it was turned into, and which of the two answers."""

    pipeline: Pipeline
    onnx: bytes | None
    parity: Parity
    serving: Classifier


def convert(pipeline: Pipeline, dataset: Dataset, convertible: Pipeline | None = None) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row.

    It is tried with columns by position and by name. `convertible` is what is turned, if not the pipeline itself.
    """
    fallback = PipelineClassifier(pipeline, dataset.features)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    reasons = []
    for by_name in (False, True):
        try:
            content = export_onnx(convertible or pipeline, dataset.features, by_name=by_name)
            candidate = OnnxClassifier(content, dataset.features)
        except ConversionError as error:
            reasons.append(no_parity(f"the pipeline does not convert: {error}"))
            continue
        parity = compare(candidate, fallback, probes)
        if parity.reason is None:
            return Engines(pipeline, content, parity, candidate)
        reasons.append(parity)
    # what was compared says more than what could not be
    told = max(reasons, key=lambda parity: parity.rows)
    return Engines(pipeline, None, told, fallback)
