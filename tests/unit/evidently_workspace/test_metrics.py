"""The formulas of our own Evidently metrics, against cases worked out by hand and against simulation."""

import numpy as np
import pytest

from evidently_workspace.classification.performance import calibration_error


def test_probabilities_that_are_as_right_as_they_say_have_a_small_calibration_error():
    random = np.random.default_rng(0)
    probability = random.uniform(0.4, 1, 20_000)
    correct = (random.random(20_000) < probability).astype("float64")
    assert calibration_error(probability, correct) < 0.02
    assert calibration_error(np.minimum(probability + 0.2, 1), correct) > 0.1


def test_equal_probabilities_share_one_bin_whatever_the_order_of_the_rows():
    correct = np.repeat([1.0, 0.0], [80, 20])
    assert calibration_error(np.full(100, 0.9), correct) == pytest.approx(0.1)
    assert calibration_error(np.full(100, 0.9), correct[::-1]) == pytest.approx(0.1)


def test_bins_hold_equally_many_rows():
    # Right below 0.5 and wrong above it would cancel out in a single bin.
    probability = np.linspace(0, 1, 100)
    assert calibration_error(probability, (probability < 0.5).astype("float64")) == pytest.approx(0.75, abs=0.01)


def test_one_row_is_enough_for_a_value():
    assert calibration_error(np.array([0.7]), np.array([1.0])) == pytest.approx(0.3)
