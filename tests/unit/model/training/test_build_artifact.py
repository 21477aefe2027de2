"""Quality on held-out rows, by examples that can be checked by hand."""

import numpy as np
import pytest

from model.training.build_artifact import evaluate, evaluate_regression


def test_quality_of_two_classes() -> None:
    positive = np.array([0.1, 0.2, 0.6, 0.9])
    quality = evaluate(np.column_stack([1 - positive, positive]), np.array([0, 0, 0, 1]), ("no", "yes"))
    assert (quality.rows, quality.correct, quality.accuracy) == (4, 3, 0.75)
    assert quality.per_class["yes"].precision == 0.5
    assert quality.per_class["yes"].recall == 1.0
    assert quality.per_class["no"].rows == 3
    assert quality.precision == pytest.approx((1.0 + 0.5) / 2)
    assert quality.roc_auc == 1.0
    assert quality.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.9]).mean())


def test_a_class_that_is_absent_leaves_the_roc_auc_undefined() -> None:
    quality = evaluate(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 1]), ("a", "b", "c"))
    assert quality.roc_auc is None
    assert quality.per_class["c"].rows == 0
    assert quality.accuracy == 1.0


def test_quality_of_numbers() -> None:
    quality = evaluate_regression(np.array([1.0, 4.0, 9.0]), np.array([2.0, 4.0, 6.0]))
    assert (quality.rows, quality.mean_absolute_error, quality.median_absolute_error) == (3, pytest.approx(4 / 3), 1.0)
    assert (quality.largest_absolute_error, quality.mean_error) == (3.0, pytest.approx(2 / 3))
    assert quality.root_mean_squared_error == pytest.approx(np.sqrt(10 / 3))
    assert quality.r2 == pytest.approx(1 - 10 / 8)
    assert evaluate_regression(np.array([1.0, 2.0]), np.array([3.0, 3.0])).r2 is None
