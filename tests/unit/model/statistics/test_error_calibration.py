"""Expected errors of predicted numbers: near the truth, level where little is known, never certain."""

import numpy as np
import pytest

from model.statistics.calibration import expected_regression_errors, fit_error_calibration

HALF_NORMAL = np.sqrt(2 / np.pi)


@pytest.mark.parametrize("rows", [150, 2_000])
def test_errors_that_grow_with_the_number_are_expected_to(rows: int) -> None:
    rng = np.random.default_rng(rows)
    predictions = rng.uniform(100, 500, rows)
    errors = 0.1 * predictions * rng.standard_normal(rows)
    calibration = fit_error_calibration(predictions, errors, 120.0)
    expected = expected_regression_errors(calibration, np.array([150.0, 300.0, 450.0]))
    tolerance = 0.35 if rows < 1_000 else 0.15
    np.testing.assert_allclose(expected.deviation, [15, 30, 45], rtol=tolerance)
    np.testing.assert_allclose(expected.absolute, np.array([15, 30, 45]) * HALF_NORMAL, rtol=tolerance + 0.1)
    leaning = expected_regression_errors(
        fit_error_calibration(predictions, errors + 0.1 * predictions, 120.0), predictions
    )
    np.testing.assert_allclose(leaning.mean, 0.1 * predictions, atol=15 if rows < 1_000 else 6)


def test_the_expected_errors_of_its_own_rows_add_up_to_theirs() -> None:
    rng = np.random.default_rng(1)
    predictions, errors = rng.normal(0, 1, 300), rng.standard_t(4, 300)
    expected = expected_regression_errors(fit_error_calibration(predictions, errors, 1.5), predictions)
    assert expected.mean.mean() == pytest.approx(errors.mean())
    assert expected.absolute.mean() == pytest.approx(np.abs(errors).mean())


def test_the_end_values_hold_outside() -> None:
    rng = np.random.default_rng(2)
    calibration = fit_error_calibration(rng.normal(0, 1, 300), rng.normal(0, 1, 300), 1.0)
    far = expected_regression_errors(calibration, np.array([-1e30, 1e30]))
    assert far.absolute.tolist() == [calibration.absolute_error[0], calibration.absolute_error[-1]]


@pytest.mark.parametrize("errors", [np.zeros(60), np.full(60, 3.0)])
def test_a_model_that_never_erred_otherwise_is_not_certain(errors: np.ndarray) -> None:
    calibration = fit_error_calibration(np.linspace(0, 1, 60), errors, 2.0)
    assert min(calibration.error_spread) == min(calibration.absolute_spread) == pytest.approx(0.002)
    np.testing.assert_allclose(calibration.absolute_error, errors[0], atol=1e-9)


@pytest.mark.parametrize("number", [0.0, 7.0, -1e38])
def test_a_model_that_always_predicts_the_same_has_one_expectation(number: float) -> None:
    errors = np.random.default_rng(3).normal(0, 1, 60)
    calibration = fit_error_calibration(np.full(60, number), errors, 1.0)
    assert len(calibration.predictions) == 2
    expected = expected_regression_errors(calibration, np.array([number]))
    assert expected.absolute[0] == pytest.approx(np.abs(errors).mean())


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    predictions, errors = rng.normal(0, 1, 200), rng.normal(0, 1, 200)
    small, large = (fit_error_calibration(unit * predictions, unit * errors, unit) for unit in (1.0, 1e30))
    np.testing.assert_allclose(np.array(large.absolute_error) / 1e30, small.absolute_error)
    np.testing.assert_allclose(np.array(large.error_spread) / 1e30, small.error_spread)
