"""The named pipelines: each takes gaps, empty columns and absurd numbers."""

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import ESTIMATOR_NAMES, EstimatorName
from model.data.dataset import describe_column
from model.data.encoding import pipeline_input
from model.errors import DataError
from model.training.pipelines import build_pipeline, named_recipe

ROWS = pd.DataFrame(
    {
        "size": [*np.linspace(0, 1, 38), np.nan, 1e30],
        "seldom": [1.0, *[np.nan] * 39],
        "colour": [None, *["red", "blue", "green"] * 13],
    }
)
FEATURES = (
    describe_column("size", "number", ROWS["size"]),
    describe_column("seldom", "number", ROWS["seldom"]),
    describe_column("colour", "category", ROWS["colour"]),
)
CODES = np.arange(40) % 2
CLASSIFIERS = [name for name in ESTIMATOR_NAMES if name != "linear_regression"]
REGRESSORS = [name for name in ESTIMATOR_NAMES if name != "logistic_regression"]


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_a_column_that_is_empty_where_it_is_fitted_may_be_filled_later(estimator: EstimatorName) -> None:
    pipeline = build_pipeline(FEATURES, 0, estimator)
    pipeline.fit(pipeline_input(ROWS[1:], FEATURES), CODES[1:])
    answers = pipeline.predict_proba(pipeline_input(ROWS, FEATURES))
    assert np.isfinite(answers).all()
    surprising = ROWS.head(2).assign(seldom=[1e30, -1e30], size=[-1e30, 1e30], colour=["violet", None])
    assert np.isfinite(pipeline.predict_proba(pipeline_input(surprising, FEATURES))).all()


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_the_same_seed_gives_the_same_model(estimator: EstimatorName) -> None:
    rows = pipeline_input(ROWS, FEATURES)
    answers = [build_pipeline(FEATURES, 4, estimator).fit(rows, CODES).predict_proba(rows) for _ in range(2)]
    np.testing.assert_array_equal(*answers)


def test_gradient_boosting_tells_a_gap_from_the_median() -> None:
    """A gap that means the other class is learned as such, which an imputed median could not show."""
    rows = pd.DataFrame({"size": [0.0, 1.0, 2.0, np.nan] * 50})
    features = (describe_column("size", "number", rows["size"]),)
    codes = rows["size"].isna().to_numpy().astype(int)
    pipeline = build_pipeline(features, 0, "hist_gradient_boosting").fit(pipeline_input(rows, features), codes)
    assert (pipeline.predict_proba(pipeline_input(rows, features)).argmax(axis=1) == codes).all()


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_a_regressor_answers_surprises_with_numbers_near_those_it_has_seen(estimator: EstimatorName) -> None:
    numbers = np.linspace(1_000, 2_000, 40)
    pipeline = build_pipeline(FEATURES, 0, estimator, "regression").fit(pipeline_input(ROWS, FEATURES), numbers)
    surprising = ROWS.head(2).assign(seldom=[1e38, -1e38], size=[-1e38, 1e38], colour=["violet", None])
    answers = pipeline.predict(pipeline_input(surprising, FEATURES))
    assert ((answers > 0) & (answers < 3_000)).all()


def test_an_estimator_of_the_other_task_is_refused_with_those_that_suit() -> None:
    with pytest.raises(DataError, match=r"logistic_regression tells classes apart.*linear_regression"):
        named_recipe("logistic_regression", "regression")
    with pytest.raises(DataError, match=r"linear_regression predicts numbers.*logistic_regression"):
        named_recipe("linear_regression", "classification")


def test_a_forest_of_many_rows_has_trees_that_can_be_explained() -> None:
    rows = pd.DataFrame({"size": np.random.default_rng(0).normal(size=12_000)})
    features = (describe_column("size", "number", rows["size"]),)
    codes = np.random.default_rng(1).integers(0, 2, 12_000)
    forest = build_pipeline(features, 0).fit(pipeline_input(rows, features), codes)[-1]
    assert max(tree.get_n_leaves() for tree in forest.estimators_) <= 1 / forest.min_weight_fraction_leaf
    assert build_pipeline(FEATURES, 0).fit(pipeline_input(ROWS, FEATURES), CODES)[-1].min_samples_leaf == 2
