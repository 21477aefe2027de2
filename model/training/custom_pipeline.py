"""A pipeline made by the user's own function, named as module:function."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline

from model.artifact.estimators import library_of
from model.artifact.manifest import Task
from model.data.encoding import boolean_features, text_features
from model.errors import DataError
from model.training.pipelines import Features, Recipe
from model.training.transformers import PandasCompatibility


def custom_recipe(reference: str, task: Task = "classification") -> Recipe:
    """Return the recipe that calls `module:function` with the list of columns; raises DataError.

    The function is given a list of `model.artifact.manifest.Feature`, whose `name` and `type` say what each column is,
    and returns an unfitted classifier with `predict_proba`, or for regression a regressor. It is fitted on a frame with
    these columns in this order: numbers as float64 with NaN where missing, categories and booleans as text ("True",
    "False") with "" where missing.
    """
    module, _, function = reference.partition(":")
    if not module or not function:
        raise DataError(f"{reference!r} does not name a function; write it as module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{reference}: no module {error.name!r}; start the command where Python finds it, or set PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise DataError(f"the module {module} has no {function!r}") from error
    except Exception as error:
        # whatever a person's own module raises on import
        raise DataError(f"importing {module} failed: {type(error).__name__}: {error}") from error
    return Recipe(reference, lambda features, _seed: _build(reference, found, features, task))


def _build(reference: str, function: Callable[[Sequence[Any]], Any], features: Features, task: Task) -> Pipeline:
    try:
        made = function(list(features))
    except Exception as error:
        # whatever a person's own function raises
        raise DataError(f"{reference} failed: {type(error).__name__}: {error}") from error
    if task == "regression":
        if not _is_regressor(made):
            raise DataError(
                f"{reference} returned {type(made).__name__}, which is not a regressor, and the target is a number; "
                "derive your own class from sklearn.base.RegressorMixin and BaseEstimator"
            )
        return _with_categories(made, features)
    if not (hasattr(made, "fit") and hasattr(made, "predict_proba")):
        raise DataError(
            f"{reference} returned {type(made).__name__}, which lacks fit or predict_proba; "
            "alarms need the probabilities of the classes"
        )
    return _with_categories(made, features)


def _with_categories(model: Any, features: Features) -> Pipeline:
    """Return a pipeline that hands XGBoost and LightGBM text as pandas' category dtype, as they want it."""
    bare = model
    while hasattr(bare, "estimator"):
        bare = bare.estimator
    texts = text_features(features)
    if not texts or library_of(bare) not in {"xgboost", "lightgbm"}:
        return as_pipeline(model)
    booleans = tuple(feature.name for feature in boolean_features(features))
    categories = {feature.name: feature.categories for feature in texts if feature.categories}
    return Pipeline([("frame as read by pandas", PandasCompatibility(booleans, categories)), ("model", model)])


def _is_regressor(made: Any) -> bool:
    try:
        return bool(hasattr(made, "fit") and is_regressor(made))
    except (AttributeError, TypeError):
        # scikit-learn cannot tell what it is
        return False


def as_pipeline(model: Any) -> Pipeline:
    """Return a classifier or regressor as a pipeline, of one step where it is none."""
    return model if isinstance(model, Pipeline) else Pipeline([("model", model)])
