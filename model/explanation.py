"""Why the forest answered as it did: TreeSHAP attributions in terms of the features that callers send.

Imports shap inside: it takes seconds, and only training and the snapshot worker need it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact import PIPELINE_FILE, read_manifest, verified_bytes
from model.classifiers import load_pipeline
from model.errors import ExplanationError
from model.manifest import Feature
from model.pipeline import pipeline_input

Phi = npt.NDArray[np.float64]


class Explainer:
    """TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2) of a fitted pipeline.

    Raises ExplanationError where the pipeline does not end in an ensemble of trees.
    """

    def __init__(self, pipeline: Any, features: tuple[Feature, ...]) -> None:
        import shap  # noqa: PLC0415 - see the module's first lines

        if not hasattr(pipeline[-1], "estimators_"):
            raise ExplanationError(f"TreeSHAP explains ensembles of trees, not {type(pipeline[-1]).__name__}")
        self._features = features
        self._columns = pipeline[:-1]
        self._groups = _encoded_groups(pipeline[0], features)
        try:
            self._trees = shap.TreeExplainer(pipeline[-1], feature_perturbation="tree_path_dependent")
        except Exception as error:
            # shap's errors share no base, and each means that it does not know this kind of model
            raise ExplanationError(f"TreeSHAP cannot explain {type(pipeline[-1]).__name__}: {error}") from error

    @property
    def base(self) -> Phi:
        """Return what is answered with nothing known, (classes,): the forest's mean over its training rows."""
        return np.asarray(self._trees.expected_value, dtype=np.float64)

    def signed(self, rows: pd.DataFrame) -> Phi:
        """Return phi, (rows, features, classes): with `base` they add up to the class probabilities.

        `rows` holds the feature columns as in a frame of the artifact, missing values included. The parts of a
        category that was one-hot encoded are added up with their signs; Shapley values are additive.
        """
        if rows.empty:
            return np.empty((0, len(self._features), len(self.base)))
        encoded = np.asarray(self._columns.transform(self._input(rows)), dtype=np.float64)
        # additivity is proven in tests; shap's own check refuses the rounding of float32 thresholds
        phi = np.asarray(self._trees.shap_values(encoded, check_additivity=False), dtype=np.float64)
        return np.stack([phi[:, group].sum(axis=1) for group in self._groups], axis=1)

    def attributions(self, rows: pd.DataFrame) -> Phi:
        """Return |phi| per original feature averaged over the classes, (rows, features)."""
        return np.asarray(np.abs(self.signed(rows)).mean(axis=2))

    def _input(self, rows: pd.DataFrame) -> pd.DataFrame:
        frame = pipeline_input(rows, self._features)
        largest = float(np.finfo(np.float32).max)
        numbers = [feature.name for feature in self._features if feature.type == "number"]
        # as in predictions: the trees compare in float32
        frame[numbers] = frame[numbers].astype(np.float64).clip(-largest, largest)
        return frame


def load_explainer(folder: Path) -> Explainer:
    """Return the explainer of an artifact folder; raises ArtifactError, or ExplanationError with the reason."""
    manifest = read_manifest(folder)
    return Explainer(load_pipeline(verified_bytes(folder, manifest, PIPELINE_FILE)), manifest.features)


def _encoded_groups(columns: Any, features: tuple[Feature, ...]) -> list[npt.NDArray[np.intp]]:
    """Return for each feature the places of its columns after the preprocessing."""
    numbers = [place for place, feature in enumerate(features) if feature.type == "number"]
    texts = [place for place, feature in enumerate(features) if feature.type != "number"]
    widths = [1] * len(numbers)
    if texts:
        widths += [len(categories) for categories in columns.named_transformers_["texts"]["encode"].categories_]
    owners = np.repeat([*numbers, *texts], widths)
    return [np.flatnonzero(owners == place) for place in range(len(features))]
