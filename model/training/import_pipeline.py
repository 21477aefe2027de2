"""Importing a pipeline that was fitted elsewhere: load it, check it against a reference CSV, build the artifact."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline

from model.alarms.policy import AlarmPolicy
from model.artifact.manifest import Feature, Manifest, Task
from model.artifact.pickles import load_pipeline
from model.data.dataset import AnyDataset, Classes
from model.data.encoding import boolean_features, rows_of
from model.data.split import split_held_out
from model.errors import DataError
from model.serving.onnx import convert, pipeline_engine
from model.training.build_artifact import Candidate, Progress, build_artifact
from model.training.custom_pipeline import as_pipeline
from model.training.input_checks import proven_features
from model.training.out_of_fold import OutOfFoldRows, score
from model.training.transformers import PandasCompatibility


@dataclass(frozen=True)
class FittedPipeline:
    """A pipeline that was fitted elsewhere: the columns that it takes, in order, and its classes, if it has any."""

    pipeline: Pipeline
    columns: tuple[str, ...]
    classes: Classes | None
    source: str

    @property
    def task(self) -> Task:
        """Return what it predicts."""
        return "regression" if self.classes is None else "classification"


def load_fitted(path: Path, *, any_version: bool = False) -> FittedPipeline:
    """Return the pipeline of a joblib file, whose code runs on loading; raises DataError.

    Refused are a file of another scikit-learn, unless `any_version`, and a pipeline that is not fitted, is neither a
    classifier with `predict_proba` nor a regressor, does not know the names of its columns, or whose classes are
    neither text, integers nor booleans.
    """
    fitted = _load(path, any_version=any_version)
    numeric = _predicts_numbers(path, fitted)
    names = getattr(fitted, "feature_names_in_", None)
    if names is None:
        raise DataError(
            f"the pipeline in {path} is not fitted, or was fitted without column names; fit it on a pandas DataFrame"
        )
    pipeline = as_pipeline(fitted)
    source = f"{path.name} ({type(pipeline.steps[-1][1]).__name__})"
    return FittedPipeline(pipeline, tuple(map(str, names)), None if numeric else _classes(path, fitted), source)


def _load(path: Path, *, any_version: bool) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = load_pipeline(content)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path} needs the module {error.name!r}; start the command where Python finds it, or set PYTHONPATH"
        ) from error
    except Exception as error:
        # a pickle may raise anything, by what it holds
        raise DataError(f"{path} cannot be loaded with joblib: {type(error).__name__}: {error}") from error
    others = [one.message for one in caught if isinstance(one.message, InconsistentVersionWarning)]
    if others and not any_version:
        raise DataError(
            f"{path} was saved by scikit-learn {others[0].original_sklearn_version}; this is "
            f"{others[0].current_sklearn_version}, where it may predict something else; save it again with this "
            "version, or use it as it is with --any-version"
        )
    return fitted


def _predicts_numbers(path: Path, fitted: Any) -> bool:
    """Return whether a pipeline is a regressor, False for a classifier; raises DataError for anything else."""
    if hasattr(fitted, "predict_proba"):
        return False
    kind = type(fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted).__name__
    if not hasattr(fitted, "predict"):
        raise DataError(
            f"{path} holds {kind}, which has neither predict_proba nor predict; save a classifier or a regressor"
        )
    try:
        if is_regressor(fitted):
            return True
        other = is_clusterer(fitted) or is_outlier_detector(fitted)
        classes = is_classifier(fitted) or hasattr(fitted, "classes_")
    except (AttributeError, TypeError) as error:
        raise DataError(
            f"{path} holds {kind}, which does not say what it predicts; derive it from sklearn.base.RegressorMixin and "
            "BaseEstimator if that is a number"
        ) from error
    if classes:
        raise DataError(f"{path} holds {kind}, which has no predict_proba; alarms need probabilities")
    what = "finds groups or outliers" if other else "is not a regressor"
    raise DataError(f"{path} holds {kind}, which {what}; only classifiers and regressors can be watched")


def _classes(path: Path, fitted: Any) -> Classes:
    given = getattr(fitted, "classes_", None)
    if given is None:
        raise DataError(f"the pipeline in {path} is not fitted: it has no classes; fit it and save it again")
    if isinstance(given, list):
        raise DataError(
            f"the pipeline in {path} predicts {len(given)} targets at once; only models of one target can be served"
        )
    values = np.asarray(given).tolist()
    if all(isinstance(value, float) and value.is_integer() for value in values):
        values = [int(value) for value in values]
    for kind in (bool, int, str):
        if all(type(value) is kind for value in values):
            return tuple(values)
    raise DataError(f"the classes of the pipeline in {path} are neither text, integers nor booleans: {values[:5]}")


def import_pipeline(
    fitted: FittedPipeline,
    dataset: AnyDataset,
    folder: Path,
    *,
    seed: int = 0,
    policy: AlarmPolicy | None = None,
    refuse_unseen: bool = False,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Write the artifact of a fitted pipeline, measured on rows that it was not fitted on, and return its manifest.

    `dataset` holds these rows, with the pipeline's columns and classes in its order; two fifths become the test rows,
    the rest the reference. With `refuse_unseen` a category that the pipeline does not know is refused when it is sent.
    Raises DataError if the pipeline cannot answer what callers may send.
    """
    progress("trying the pipeline", 0)
    pipeline = _with_pandas_frame(fitted.pipeline, dataset.features)
    engine = pipeline_engine(pipeline, dataset)
    rows = rows_of(dataset.frame, dataset.features)
    proven = proven_features(engine, dataset.features, rows, refuse_unseen=refuse_unseen)
    dataset = replace(dataset, features=proven)
    split = split_held_out(dataset.strata, seed)
    progress("converting to ONNX and comparing", 0)
    engines = convert(pipeline, dataset, convertible=fitted.pipeline)
    progress("predicting the rows", 0)
    test, reference = (score(dataset, engines.serving, part) for part in (split.test, split.reference))
    candidate = Candidate(dataset, split, engines, OutOfFoldRows(test.head(0), test, reference), fitted.source)
    rng = np.random.default_rng(seed)
    return build_artifact(candidate, folder, rng, seed=seed, policy=policy or AlarmPolicy(), progress=progress)


def _with_pandas_frame(pipeline: Pipeline, features: Sequence[Feature]) -> Pipeline:
    booleans = tuple(feature.name for feature in boolean_features(features))
    return Pipeline([("frame as read by pandas", PandasCompatibility(booleans)), *pipeline.steps])
