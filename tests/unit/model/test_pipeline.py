"""The named pipelines: each takes gaps, empty columns and absurd numbers."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from model.dataset import describe_column
from model.estimator_names import EstimatorName
from model.pipeline import build_pipeline, pipeline_input, pipeline_probabilities

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


@pytest.mark.parametrize("estimator", get_args(EstimatorName))
def test_a_column_that_is_empty_where_it_is_fitted_may_be_filled_later(estimator: EstimatorName) -> None:
    pipeline = build_pipeline(FEATURES, 0, estimator)
    pipeline.fit(pipeline_input(ROWS[1:], FEATURES), CODES[1:])
    answers = pipeline_probabilities(pipeline, ROWS, FEATURES)
    assert np.isfinite(answers).all()
    surprising = ROWS.head(2).assign(seldom=[1e30, -1e30], size=[-1e30, 1e30], colour=["violet", None])
    assert np.isfinite(pipeline_probabilities(pipeline, surprising, FEATURES)).all()


@pytest.mark.parametrize("estimator", get_args(EstimatorName))
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
    assert (pipeline_probabilities(pipeline, rows, features).argmax(axis=1) == codes).all()
