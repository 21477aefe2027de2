"""The scikit-learn pipelines that are chosen by name: impute, encode, then classify or predict a number."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from model.artifact.manifest import DEFAULT_ESTIMATOR, EstimatorName, Feature, Task
from model.data.encoding import MISSING_TEXT, encoding_of
from model.errors import DataError
from model.training.transformers import EmptyColumnsFilled

Features = tuple[Feature, ...]

_MISSING_CATEGORY = "(missing)"


@dataclass(frozen=True)
class Recipe:
    """How to make an unfitted pipeline for rows in the order of the features, from these and a seed."""

    name: str
    build: Callable[[Features, int], Pipeline]

    def again(self, pipeline: Pipeline, features: Features, seed: int) -> Pipeline:
        """Return another unfitted pipeline like one that `build` made: its clone, or where it has none a new one.

        Raises DataError where there is neither.
        """
        try:
            return clone(pipeline)
        except (RuntimeError, TypeError):
            # some libraries change what their constructors were given, which scikit-learn does not clone
            made = self.build(features, seed)
        if made.steps[-1][1] is pipeline.steps[-1][1]:
            raise DataError(f"{self.name} returned the same model twice; make a new one in each call")
        return made


def named_recipe(name: EstimatorName, task: Task = "classification") -> Recipe:
    """Return the recipe of one of the estimators that this program knows; raises DataError for another task's."""
    if name not in _LAST_STEPS[task]:
        what = "tells classes apart" if task == "regression" else "predicts numbers"
        raise DataError(f"{name} {what}; for {task} choose one of {', '.join(_LAST_STEPS[task])}")
    return Recipe(name, lambda features, seed: build_pipeline(features, seed, name, task))


def build_pipeline(
    features: Features, seed: int, estimator: EstimatorName = DEFAULT_ESTIMATOR, task: Task = "classification"
) -> Pipeline:
    """Return an unfitted classifier or regressor for rows in the order of `features`.

    Each column may be missing in a prediction: text is imputed by a category of its own, and numbers by their
    median, but for gradient boosting, which takes a gap as it is. A forest that is fed NaN, or an imputer that adds
    indicator columns, converts to ONNX without an error and then predicts something else. Columns are chosen by
    position, which holds for frames, for one matrix and for one ONNX input per column, whatever characters their
    names have.
    """
    numbers = [place for place, feature in enumerate(features) if encoding_of(feature).is_number]
    texts = [place for place, feature in enumerate(features) if not encoding_of(feature).is_number]
    steps = [("numbers", _NUMBER_STEPS[estimator](), numbers)] if numbers else []
    if texts:
        steps.append(("texts", _encode_texts(), texts))
    return Pipeline([("columns", ColumnTransformer(steps)), (estimator, _LAST_STEPS[task][estimator](seed))])


def _encode_texts() -> Pipeline:
    impute = SimpleImputer(
        strategy="constant",
        missing_values=MISSING_TEXT,
        fill_value=_MISSING_CATEGORY,
        keep_empty_features=True,
    )
    return Pipeline([("impute", impute), ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False))])


def _impute_numbers() -> SimpleImputer:
    # keep_empty_features: a column may be empty in the rows trained on though not in all rows
    return SimpleImputer(strategy="median", keep_empty_features=True)


def _hold_numbers() -> Pipeline:
    # Held within the range of training: a line goes on for ever, and an absurd number would make it certain
    return Pipeline(
        [("impute", _impute_numbers()), ("hold", MinMaxScaler(clip=True)), ("standardize", StandardScaler())]
    )


_NUMBER_STEPS: dict[EstimatorName, Callable[[], Any]] = {
    "random_forest": _impute_numbers,
    "hist_gradient_boosting": EmptyColumnsFilled,
    "logistic_regression": _hold_numbers,
    "linear_regression": _hold_numbers,
}
"""What is done to numbers."""

_FOREST: dict[str, Any] = {
    "n_estimators": 100,
    # Leaves of two rows or more: a smaller model whose probabilities are less often exactly 0 or 1
    "min_samples_leaf": 2,
    # Where there are thousands of rows, leaves of more: a tree stops growing at about 2,000 leaves, which bounds what
    # it costs to explain. Below 3,300 rows of training it changes nothing.
    "min_weight_fraction_leaf": 0.0003,
}

_LAST_STEPS: dict[Task, dict[EstimatorName, Callable[[int], Any]]] = {
    "classification": {
        "random_forest": lambda seed: RandomForestClassifier(**_FOREST, random_state=seed),
        "hist_gradient_boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
        "logistic_regression": lambda _: LogisticRegression(max_iter=2_000),
    },
    "regression": {
        "random_forest": lambda seed: RandomForestRegressor(**_FOREST, random_state=seed),
        "hist_gradient_boosting": lambda seed: HistGradientBoostingRegressor(random_state=seed),
        # a little shrinkage: one-hot columns add up to one, which leaves least squares without a single answer
        "linear_regression": lambda _: Ridge(alpha=1.0),
    },
}
"""The classifiers and regressors."""
