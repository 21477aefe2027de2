"""Why the model answered as it did: SHAP attributions in terms of the features that callers send.

Imports shap inside: it takes seconds, and only training and the snapshot worker need it.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact import PIPELINE_FILE, read_manifest, read_test, verified_bytes
from model.attributed_columns import column_owners, trial_rows
from model.classifiers import load_pipeline
from model.errors import ExplanationError
from model.explained_step import ExplainedStep, LinearStep, TreeStep
from model.manifest import Feature
from model.pipeline import pipeline_input

Phi = npt.NDArray[np.float64]
Unit = Literal["probability", "log odds", "target"]

_TOLERANCE = 1e-6


class Explainer:
    """Exact SHAP values of a fitted pipeline that ends in trees or in a linear model.

    Trees: TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2). Linear models: coefficient times the
    distance from the mean of the `background` rows, which are Shapley values where features are taken as independent
    (Strumbelj and Kononenko 2014, Knowledge and Information Systems 41). Raises ExplanationError where the pipeline
    ends in something else, where an encoded column comes from several features, or where the values do not add up
    to the model's answers on trial rows: that is proven here for each model, not assumed.
    """

    def __init__(self, pipeline: Any, features: tuple[Feature, ...], background: pd.DataFrame | None = None) -> None:
        self._features = features
        self._steps = [step for _, step in pipeline.steps[:-1] if step is not None and step != "passthrough"]
        self._step = self._explained(pipeline.steps[-1][1], background)
        trials = trial_rows(features)
        encoded = [self._encode(rows) for rows in trials]
        self._owners = column_owners(encoded, features)
        self.method: Literal["TreeSHAP", "linear SHAP"] = self._step.method
        self.unit: Unit = self._proven_unit(np.concatenate(encoded))

    @property
    def base(self) -> Phi:
        """Return what is answered with nothing known, (outputs,): the mean over the training or background rows."""
        return self._step.base

    def signed(self, rows: pd.DataFrame) -> Phi:
        """Return phi, (rows, features, outputs): with `base` they add up to the model's answers.

        There is an output for each class, or one for both of two classes. `unit` says what the answers are. `rows`
        holds the feature columns as in a frame of the artifact, missing values included. The parts of a category that
        was one-hot encoded are added up with their signs; Shapley values are additive.
        """
        if rows.empty:
            return np.empty((0, len(self._features), len(self.base)))
        return self._grouped(self._encode(rows))

    def attributions(self, rows: pd.DataFrame) -> Phi:
        """Return |phi| per original feature averaged over the outputs, (rows, features)."""
        return np.asarray(np.abs(self.signed(rows)).mean(axis=2))

    def _explained(self, estimator: Any, background: pd.DataFrame | None) -> ExplainedStep:
        if not hasattr(estimator, "coef_"):
            return TreeStep(estimator)
        if background is None or background.empty:
            raise ExplanationError("a linear model is explained against rows, of which there are none")
        return LinearStep(estimator, self._encode(background).mean(axis=0))

    def _encode(self, rows: pd.DataFrame) -> Phi:
        encoded: Any = pipeline_input(rows, self._features)
        largest = float(np.finfo(np.float32).max)
        numbers = [feature.name for feature in self._features if feature.type == "number"]
        # as in predictions: the trees compare in float32
        encoded[numbers] = encoded[numbers].astype(np.float64).clip(-largest, largest)
        for step in self._steps:
            encoded = step.transform(encoded)
        if hasattr(encoded, "toarray"):
            encoded = encoded.toarray()
        try:
            return np.asarray(encoded, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ExplanationError(f"the last step does not take numbers alone: {error}") from error

    def _grouped(self, encoded: Phi) -> Phi:
        phi = self._step.phi(encoded)
        return np.stack([phi[:, owned].sum(axis=1) for owned in self._owners], axis=1)

    def _proven_unit(self, encoded: Phi) -> Unit:
        sample = encoded[:: max(1, len(encoded) // 64)]
        totals = self._grouped(sample).sum(axis=1) + self.base
        for unit, answers in self._step.answers(sample):
            # a number is as large as its unit makes it, and its parts may cancel
            near = _TOLERANCE * max(1.0, float(np.abs(answers).max())) if unit == "target" else _TOLERANCE
            if totals.shape == answers.shape and np.allclose(totals, answers, rtol=_TOLERANCE, atol=near):
                return unit
        raise ExplanationError("its attributions do not add up to its answers")


def load_explainer(folder: Path) -> Explainer:
    """Return the explainer of an artifact folder; raises ArtifactError, or ExplanationError with the reason."""
    manifest = read_manifest(folder)
    pipeline = load_pipeline(verified_bytes(folder, manifest, PIPELINE_FILE))
    return Explainer(pipeline, manifest.features, read_test(folder))
