"""Turning a fitted pipeline into an ONNX model."""

from typing import Any

from sklearn.pipeline import Pipeline

from model.classifiers import ONE_MATRIX, input_name
from model.errors import ModelError
from model.manifest import Feature


class ConversionError(ModelError):
    """The pipeline could not be turned into an ONNX model."""


def export_onnx(pipeline: Pipeline, features: tuple[Feature, ...], *, by_name: bool = False) -> bytes:
    """Return the pipeline as an ONNX model.

    Its outputs are `label` and `probabilities` (rows, classes), or `variable` (rows, 1) of a regressor. Where the
    pipeline chooses its columns by position, an all-numeric model takes one float32 matrix and any other one input per
    column; where it chooses them `by_name`, the inputs are named as the columns. Raises ConversionError. A model that
    converts may still predict something else: see `model.parity`.
    """
    # Only training converts, and the converter takes seconds to import.
    from skl2onnx import to_onnx  # noqa: PLC0415
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: PLC0415

    inputs: list[tuple[str, Any]]
    if all(feature.type == "number" for feature in features) and not by_name:
        inputs = [(ONE_MATRIX, FloatTensorType([None, len(features)]))]
    else:
        inputs = [
            (
                feature.name if by_name else input_name(place),
                FloatTensorType([None, 1]) if feature.type == "number" else StringTensorType([None, 1]),
            )
            for place, feature in enumerate(features)
        ]
    last = pipeline.steps[-1][1]
    options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else None
    try:
        converted = to_onnx(pipeline, initial_types=inputs, options=options)
    except Exception as error:
        # skl2onnx raises many kinds, by model; each means the same: scikit-learn serves
        first = str(error).strip().partition("\n")[0][:120]
        raise ConversionError(f"{type(error).__name__}: {first}") from error
    return bytes(converted.SerializeToString())
