"""SHAP values of trees: the same as those of shap."""

from typing import Any

import numpy as np
import pytest
import shap
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier

from model.explain.steps import TreeStep

ROWS, COLUMNS = 600, 7


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=10, random_state=0),
        RandomForestRegressor(n_estimators=10, random_state=0),
        ExtraTreesClassifier(n_estimators=5, max_depth=6, random_state=0),
        GradientBoostingClassifier(n_estimators=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        DecisionTreeClassifier(random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_trees_are_explained_as_shap_does_it(rows: np.ndarray, estimator: Any, classes: int) -> None:
    if isinstance(estimator, GradientBoostingClassifier):
        classes = 2  # shap knows no other
    labels = np.digitize(rows[:, 0] + rows[:, 1] * rows[:, 2], [0] if classes == 2 else [-0.5, 0.5])
    estimator.fit(rows, labels)
    found = TreeStep(estimator).phi(rows[:50])
    explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    expected = explainer.shap_values(rows[:50], check_additivity=False).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("kind", [RandomForestClassifier, HistGradientBoostingClassifier])
def test_a_gap_goes_where_the_tree_sends_it(rows: np.ndarray, kind: Any) -> None:
    gaps = rows.copy()
    gaps[::3, 0] = np.nan
    estimator = kind(random_state=0).fit(gaps, np.isnan(gaps[:, 0]) ^ (gaps[:, 1] > 0))
    found = TreeStep(estimator).phi(gaps[:60])
    explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    expected = explainer.shap_values(gaps[:60], check_additivity=False).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_values_of_deep_trees_add_up_to_the_last_digits() -> None:
    rng = np.random.default_rng(1)
    rows = rng.exponential(size=(4_000, 12)).astype(np.float32).astype(np.float64) ** 3
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(rows, rng.random(4_000) < 0.2)
    step = TreeStep(forest)
    totals = step.phi(rows[:40]).sum(axis=1) + step.base
    np.testing.assert_allclose(totals, forest.predict_proba(rows[:40]), atol=1e-12)
