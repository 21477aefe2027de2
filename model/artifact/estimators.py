"""What is inside a model: its plain steps, the columns and categories that it knows, the libraries that it uses."""

import io
import pickle
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from typing import Any

from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

BOOSTERS = frozenset({"xgboost", "lightgbm", "catboost"})
"""Libraries of boosted trees whose models are no scikit-learn pipelines, and take frames themselves."""

_FIRST_PARTS = ("best_estimator_", "regressor_", "estimator_", "estimator", "estimators_", "calibrated_classifiers_")
"""Where models keep the models that are given the same columns as they."""
_FEW_PARTS = 100

Steps = list[tuple[str, Any]]


def library_of(model: Any) -> str:
    """Return the package that a model's class is from."""
    return type(model).__module__.partition(".")[0]


def is_booster(model: Any) -> bool:
    """Say whether a model is one of XGBoost's, LightGBM's or CatBoost's."""
    return library_of(model) in BOOSTERS


def plain_steps(model: Any) -> Steps:
    """Return what is done to a row in turn, the last one predicts: pipelines in pipelines are laid out.

    Left out is what only matters for fitting: the search around a model, the threshold on its probabilities, and
    samplers, which pass a row on as it is. The model itself is not changed.
    """
    if hasattr(model, "best_estimator_"):
        return plain_steps(model.best_estimator_)
    if isinstance(model, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return plain_steps(model.estimator_)
    if not isinstance(model, Pipeline):
        return [("model", model)]
    found: Steps = []
    for name, step in model.steps:
        if step is None or isinstance(step, str) or hasattr(step, "fit_resample"):
            continue
        predicts = step is model.steps[-1][1]
        found += plain_steps(step) if predicts or isinstance(step, Pipeline) else [(name, step)]
    return [(f"{place} {name}", step) for place, (name, step) in enumerate(found)]


def columns_of(model: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that a model was fitted on, None where it knows none."""
    if (names := _own_columns(model)) is not None:
        return names
    return next((names for part in _first_parts(model) if (names := columns_of(part)) is not None), None)


def _own_columns(model: Any) -> tuple[str, ...] | None:
    if library_of(model) == "lightgbm" and not getattr(model, "_fitted_with_feature_names", True):
        return None
    # some libraries raise what they like where nothing is known
    for attribute in ("feature_names_in_", "feature_names_"):
        try:
            names = tuple(str(name) for name in getattr(model, attribute))
        except Exception:  # noqa: BLE001, S112 - as above
            continue
        # CatBoost numbers the columns of an array
        return None if not names or names == tuple(map(str, range(len(names)))) else names
    return None


def _first_parts(model: Any) -> Iterator[Any]:
    """Yield the models inside that are given the same columns."""
    if isinstance(model, Pipeline):
        yield from (step for _, step in model.steps if step is not None and not isinstance(step, str))
        return
    for attribute in _FIRST_PARTS:
        part = getattr(model, attribute, None)
        yield from [] if part is None or isinstance(part, str) else _listed(part)[:1]


def _listed(part: Any) -> list[Any]:
    return list(part) if isinstance(part, list) else [] if hasattr(part, "shape") else [part]


def boosters_in(model: Any) -> list[Any]:
    """Return the boosted trees anywhere inside a model."""
    found: list[Any] = []
    left, seen = [model], 0
    while left and seen < _FEW_PARTS:
        one, seen = left.pop(), seen + 1
        if is_booster(one):
            found.append(one)
        elif isinstance(one, (list, tuple)):
            left += list(one)[:_FEW_PARTS]
        elif isinstance(one, dict):
            left += list(one.values())[:_FEW_PARTS]
        elif hasattr(one, "get_params"):
            left += list(vars(one).values())
    return found


def categories_of(model: Any) -> dict[str, tuple[Any, ...]]:
    """Return the categories of each column that the boosted trees inside a model know as pandas' category dtype."""
    found: dict[str, tuple[Any, ...]] = {}
    for booster in boosters_in(model):
        if library_of(booster) == "xgboost":
            found |= _categories_of_xgboost(booster)
        elif library_of(booster) == "lightgbm":
            found |= _categories_of_lightgbm(booster)
    return found


def _categories_of_xgboost(model: Any) -> dict[str, tuple[Any, ...]]:
    try:
        known = model.get_booster().get_categories(export_to_arrow=True).to_arrow()
    except Exception:  # noqa: BLE001 - not fitted, no category, or a version that keeps none
        return {}
    return {name: tuple(values.to_pylist()) for name, values in known or [] if values is not None}


def _categories_of_lightgbm(model: Any) -> dict[str, tuple[Any, ...]]:
    booster = getattr(model, "booster_", model)
    known = getattr(booster, "pandas_categorical", None)
    if not known:
        return {}
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    names = [name for name in booster.feature_name() if infos.get(name, {}).get("values")]
    # a column that no tree could use has no values, so that it is not known which one it is
    return dict(zip(names, map(tuple, known), strict=True)) if len(names) == len(known) else {}


def libraries_of(model: Any) -> dict[str, str]:
    """Return the version of each installed package that a saved model needs."""
    witness = _Witness(io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL)
    try:
        witness.dump(model)
    except Exception:  # noqa: BLE001 - whoever saves the model says what is wrong with it
        return {}
    installed = packages_distributions()
    roots = {name.partition(".")[0] for name in witness.modules} - set(sys.stdlib_module_names)
    return {name: version(name) for root in sorted(roots) for name in installed.get(root, [])[:1]}


class _Witness(pickle.Pickler):
    """Notes the modules whose classes and functions are pickled."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        self.modules |= {str(getattr(one, "__module__", None) or "") for one in (type(obj), obj)}
        return NotImplemented
