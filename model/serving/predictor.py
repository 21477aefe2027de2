"""Predictors: a model loaded from its artifact folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.artifact.manifest import ClassifierManifest, Engine, ModelManifest, RegressorManifest
from model.artifact.pickles import load_pipeline
from model.artifact.store import ONNX_FILE, PIPELINE_FILE, read_manifest, verified_bytes
from model.data.encoding import Row
from model.errors import ArtifactError, PredictionError
from model.serving.engines import (
    Answers,
    Classifier,
    ElsewhereEngine,
    Numbers,
    OnnxClassifier,
    OnnxRegressor,
    OwnRuleClassifier,
    PipelineClassifier,
    PipelineRegressor,
    Probabilities,
    Regressor,
    chooser_of,
    classes_of,
)


class Predictor:
    """A loaded classifier; threads may share it."""

    def __init__(self, manifest: ClassifierManifest, classifier: Classifier) -> None:
        self.manifest = manifest
        self._classifier = classifier
        self._chooser = chooser_of(classifier)

    @property
    def engine(self) -> Engine:
        """Return what computes the answers."""
        return self.manifest.engine

    def predict(self, rows: Sequence[Row]) -> Probabilities:
        """Return class probabilities, float64 (rows, classes), in the order of `manifest.classes`.

        A row holds its values in the order of `manifest.features`, None where missing. Raises PredictionError when a
        row has the wrong length or a number column holds something else.
        """
        _check_width(rows, self.manifest)
        if not rows:
            return np.empty((0, len(self.manifest.classes)))
        return self._classifier.probabilities(rows)

    def answers(self, rows: Sequence[Row]) -> Answers:
        """Return the probabilities and the place of the class that the model predicts.

        That is the most probable one, the first of them in a tie, or what the model's own `predict` says, as
        `manifest.answer` tells. Rows are given, and PredictionError is raised, as for `predict`.
        """
        _check_width(rows, self.manifest)
        if not rows:
            return Answers(self.predict(rows), np.empty(0, dtype=np.int64))
        return classes_of(self._classifier, self._chooser, rows)


class RegressionPredictor:
    """A loaded regressor; threads may share it."""

    def __init__(self, manifest: RegressorManifest, regressor: Regressor) -> None:
        self.manifest = manifest
        self._regressor = regressor

    @property
    def engine(self) -> Engine:
        """Return what computes the answers."""
        return self.manifest.engine

    def predict(self, rows: Sequence[Row]) -> Numbers:
        """Return the predicted numbers, float64 (rows,), in the unit of the target.

        Rows are given, and PredictionError is raised, as for `Predictor.predict`.
        """
        _check_width(rows, self.manifest)
        return self._regressor.numbers(rows) if rows else np.empty(0)

    def answers(self, rows: Sequence[Row]) -> Answers:
        """Return the same numbers as answers."""
        return Answers(self.predict(rows))


AnyPredictor = Predictor | RegressionPredictor


def load_predictor(folder: Path, threads: int = 1) -> AnyPredictor:
    """Return the predictor of an artifact folder, with `threads` for each computation.

    That of a model which is served elsewhere raises ServedElsewhereError for any row. Raises ArtifactError if anything
    is missing or does not match its hash; no such file reaches a loader.
    """
    manifest = read_manifest(folder)
    if manifest.is_watched:
        nothing = ElsewhereEngine(manifest.name)
        if isinstance(manifest, ClassifierManifest):
            return Predictor(manifest, nothing)
        return RegressionPredictor(manifest, nothing)
    name = ONNX_FILE if manifest.engine == "onnx" else PIPELINE_FILE
    content = verified_bytes(folder, manifest, name)
    try:
        if isinstance(manifest, ClassifierManifest):
            return Predictor(manifest, _classifier(content, manifest, threads))
        return RegressionPredictor(manifest, _regressor(content, manifest, threads))
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"cannot load {folder / name}: it needs the package {error.name!r}; install it where this runs (XGBoost, "
            "LightGBM, CatBoost and imbalanced-learn: make setup EXTRAS=boosting; modules of your own: PYTHONPATH)"
        ) from error
    except Exception as error:
        # The content is what training wrote, so whatever a loader raises means other library versions.
        raise ArtifactError(f"cannot load {folder / name} ({error}); train again with these libraries") from error


def _check_width(rows: Sequence[Row], manifest: ModelManifest) -> None:
    width = len(manifest.features)
    for position, row in enumerate(rows):
        if len(row) != width:
            raise PredictionError(f"row {position} has {len(row)} values; the model takes {width}")


def _classifier(content: bytes, manifest: ClassifierManifest, threads: int) -> Classifier:
    if manifest.engine == "onnx":
        return OnnxClassifier(content, manifest.features, threads)
    kind = OwnRuleClassifier if manifest.answer == "own predict" else PipelineClassifier
    return kind(load_pipeline(content), manifest.features, threads)


def _regressor(content: bytes, manifest: RegressorManifest, threads: int) -> Regressor:
    if manifest.engine == "onnx":
        return OnnxRegressor(content, manifest.features, threads)
    return PipelineRegressor(load_pipeline(content), manifest.features, threads)
