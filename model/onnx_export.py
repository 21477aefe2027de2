"""Turning a fitted pipeline into an ONNX model."""

from typing import Any

from sklearn.pipeline import Pipeline

from model.errors import ModelError
from model.manifest import Feature


class ConversionError(ModelError):
    """The pipeline could not be turned into an ONNX model."""


def export_onnx(pipeline: Pipeline, features: tuple[Feature, ...]) -> bytes:
    """Return the pipeline as an ONNX model with the outputs `label` and `probabilities` (rows, classes).

    An all-numeric model takes one float32 matrix; any other takes one column per feature, in order. Raises
    ConversionError. A model that converts may still predict something else: see `model.parity`.
    """
    # Only training converts, and the converter takes seconds to import.
    from skl2onnx import to_onnx  # noqa: PLC0415
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: PLC0415

    inputs: list[tuple[str, Any]]
    if all(feature.type == "number" for feature in features):
        inputs = [("rows", FloatTensorType([None, len(features)]))]
    else:
        inputs = [
            (
                f"column_{place}",
                FloatTensorType([None, 1]) if feature.type == "number" else StringTensorType([None, 1]),
            )
            for place, feature in enumerate(features)
        ]
    classifier = pipeline.steps[-1][1]
    try:
        converted = to_onnx(pipeline, initial_types=inputs, options={id(classifier): {"zipmap": False}})
    except Exception as error:
        # skl2onnx raises many kinds, by model; each means the same: scikit-learn serves
        raise ConversionError(f"{type(error).__name__}: {error}") from error
    return bytes(converted.SerializeToString())
