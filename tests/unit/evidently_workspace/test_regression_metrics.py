"""The formulas for models of numbers, against cases worked out by hand, against training and against simulation."""

import numpy as np
import pytest

from evidently_workspace.checks.bounds import highest_mean
from evidently_workspace.regression.concept_drift import Expected, measure_regression_gap
from model.alarms.null_distributions import excess_errors, expected_regression_errors
from model.artifact.manifest import ErrorCalibration


def test_gaps_are_mean_surpluses_and_z_their_standard_deviations():
    error = np.array([3.0, -1.0])
    found = measure_regression_gap(error, Expected(*(np.array(two) for two in ([0, 1], [3, 4], [1, 1], [0.6, 0.8]))))
    assert (found.observed_error, found.expected_error) == (2, 1)
    assert (found.size_gap, found.size_z) == (1, pytest.approx(2))
    assert (found.observed_bias, found.expected_bias) == (1, 0.5)
    assert (found.bias_gap, found.bias_z) == (0.5, pytest.approx(0.2))
    assert (found.gap, found.z) == (1, pytest.approx(2))


def test_smaller_errors_than_expected_are_no_surplus_and_a_bias_counts_to_either_side():
    expected = Expected(np.zeros(50), np.full(50, 2.0), np.full(50, 1.6), np.full(50, 1.2))
    low, high = (measure_regression_gap(np.full(50, shift), expected) for shift in (-1.0, 1.0))
    assert low.size_z < 0 < low.bias_z == high.bias_z


def test_training_calibrates_the_threshold_of_the_same_z():
    random = np.random.default_rng(3)
    curves = ((-1.0, 2.0, 0.5), (4.0, 6.0, 5.0), (3.0, 5.0, 4.0), (2.5, 3.5, 3.0))
    names = ("mean_error", "error_spread", "absolute_error", "absolute_spread")
    calibration = ErrorCalibration(predictions=(10.0, 20.0, 40.0), rows=300, **dict(zip(names, curves, strict=True)))
    predictions, errors = random.uniform(0, 50, 80), random.normal(1, 5, 80)
    expected = expected_regression_errors(calibration, predictions)
    of_training = excess_errors(errors, expected, np.ones((80, 1)))
    found = measure_regression_gap(
        errors, Expected(expected.mean, expected.spread, expected.absolute, expected.absolute_spread)
    )
    for name in of_training._fields:
        assert getattr(found, name) == pytest.approx(getattr(of_training, name)[0])
    assert found.z == pytest.approx(of_training.z[0])


def test_z_of_the_bias_is_half_normal_while_errors_come_as_expected():
    random = np.random.default_rng(0)
    spread = random.uniform(1, 4, (2_000, 200))
    size, size_spread = spread * np.sqrt(2 / np.pi), spread * np.sqrt(1 - 2 / np.pi)
    errors = random.normal(0.5, spread)
    expected = (Expected(np.full(200, 0.5), *rows) for rows in zip(spread, size, size_spread, strict=True))
    z = [measure_regression_gap(error, rows).bias_z for error, rows in zip(errors, expected, strict=True)]
    assert np.mean(np.square(z)) == pytest.approx(1, abs=0.1)


def test_a_small_window_may_err_more_than_a_large_one_and_beside_few_held_out_rows_more_than_beside_many():
    assert highest_mean(10, 8, 200, 20, 0.001) > highest_mean(10, 8, 200, 2_000, 0.001) > 10
    assert highest_mean(10, 8, 20, 100, 0.001) > highest_mean(10, 8, 2_000, 100, 0.001)


def test_errors_that_never_vary_have_their_mean_as_the_bound():
    assert highest_mean(10, 0, 200, 20, 0.001) == 10
    assert highest_mean(0, 0, 200, 20, 0.001) == 0


@pytest.mark.parametrize(("held_out", "window_rows"), [(60, 30), (60, 300), (1_000, 30)])
@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_quiet_windows_exceed_the_bound_about_as_often_as_the_alarm_rate(kind, held_out, window_rows):
    random, rate, trials = np.random.default_rng(0), 0.02, 1_500

    def means(rows):
        return np.abs(getattr(random, kind)(size=(trials, rows)))

    known = means(held_out)
    bounds = [
        highest_mean(float(mean), float(spread), held_out, window_rows, rate)
        for mean, spread in zip(known.mean(axis=1), known.std(axis=1), strict=True)
    ]
    exceeded = np.mean(means(window_rows).mean(axis=1) > bounds)
    assert exceeded <= 1.4 * rate + 3 * np.sqrt(rate / trials)
