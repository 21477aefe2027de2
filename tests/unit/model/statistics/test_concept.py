"""Gaps and z of concept drift: by hand, and as they come while nothing has changed."""

import numpy as np
import pytest

from model.artifact.manifest import ErrorCalibration
from model.statistics.calibration import ExpectedErrors, expected_regression_errors
from model.statistics.concept import (
    classification_drift,
    random_label_share,
    regression_drift,
    smallest_alarming_z,
)
from model.statistics.windows import single_window


def test_the_gap_is_the_mean_excess_of_errors_and_z_its_standard_deviations() -> None:
    wrong, expected = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.2, 0.2])
    found = classification_drift(wrong, expected, single_window(4))
    assert (found.observed_error[0], found.expected_error[0]) == (0.5, pytest.approx(0.35))
    assert found.gap[0] == pytest.approx(0.15)
    assert found.z[0] == pytest.approx(0.6 / np.sqrt(0.25 + 0.25 + 0.16 + 0.16))


def test_each_window_has_its_own_gap_and_z() -> None:
    wrong, expected = np.array([1.0, 0.0, 0.0]), np.array([0.2, 0.1, 0.5])
    found = classification_drift(wrong, expected, np.array([[3, 0], [1, 0], [0, 4]], dtype=np.float64))
    assert found.gap.tolist() == pytest.approx([(3 - 0.7) / 4, -0.5])
    assert found.z.tolist() == pytest.approx([2.3 / np.sqrt(3 * 0.16 + 0.09), -2.0 / np.sqrt(4 * 0.25)])


def test_z_is_standard_normal_while_errors_happen_as_often_as_expected() -> None:
    random = np.random.default_rng(0)
    expected = random.uniform(0.02, 0.6, (2_000, 200))
    errors = (random.random(expected.shape) < expected).astype("float64")
    z = [classification_drift(*rows, single_window(200)).z for rows in zip(errors, expected, strict=True)]
    assert np.mean(z) == pytest.approx(0, abs=0.1)
    assert np.std(z) == pytest.approx(1, abs=0.1)


def test_the_two_parts_of_errors_of_numbers_are_gaps_and_z_of_their_own() -> None:
    expected = ExpectedErrors(*(np.array(two) for two in ([0, 1], [3, 4], [1, 1], [0.6, 0.8])))
    found = regression_drift(np.array([3.0, -1.0]), expected, single_window(2))
    assert (found.observed_error[0], found.expected_error[0]) == (2, 1)
    assert (found.absolute_gap[0], found.absolute_z[0]) == (1, pytest.approx(2))
    assert (found.observed_bias[0], found.expected_bias[0]) == (1, 0.5)
    assert (found.bias_gap[0], found.bias_z[0]) == (0.5, pytest.approx(0.2))
    assert (found.gap[0], found.z[0]) == (1, pytest.approx(2))


def test_each_window_of_numbers_has_its_own_gaps_and_z() -> None:
    errors = np.array([4.0, -1.0, -6.0])
    expected = ExpectedErrors(np.array([1.0, 0.0, 0.0]), np.full(3, 2.0), np.array([3.0, 2.0, 5.0]), np.full(3, 0.5))
    found = regression_drift(errors, expected, np.array([[3, 0], [1, 0], [0, 4]], dtype=np.float64))
    assert found.absolute_gap.tolist() == pytest.approx([(3 * 1 - 1) / 4, 1.0])
    assert found.absolute_z.tolist() == pytest.approx([2 / 1.0, 4 / 1.0])
    assert found.bias_gap.tolist() == pytest.approx([(3 * 3 - 1) / 4, 6.0])
    assert found.bias_z.tolist() == pytest.approx([8 / 4, 24 / 4])
    assert found.z.tolist() == pytest.approx([2.0, 6.0])


def test_smaller_errors_than_expected_are_no_excess_and_a_bias_counts_to_either_side() -> None:
    expected = ExpectedErrors(np.zeros(50), np.full(50, 2.0), np.full(50, 1.6), np.full(50, 1.2))
    low, high = (regression_drift(np.full(50, shift), expected, single_window(50)) for shift in (-1.0, 1.0))
    assert low.absolute_z[0] < 0 < low.bias_z[0] == high.bias_z[0]


def test_a_shift_of_all_labels_is_seen_where_it_hardly_changes_the_absolute_errors() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 1, 2_000)
    expected = ExpectedErrors(np.zeros(2_000), np.ones(2_000), np.full(2_000, 0.798), np.full(2_000, 0.603))
    window = np.ones((2_000, 1), dtype=np.float32)
    found = regression_drift(errors - 0.25, expected, window)
    assert found.bias_z[0] > 8
    assert found.absolute_z[0] < 3


def test_a_window_that_holds_rows_several_times_is_that_of_the_repeated_rows() -> None:
    random = np.random.default_rng(3)
    curves = ((-1.0, 2.0, 0.5), (4.0, 6.0, 5.0), (3.0, 5.0, 4.0), (2.5, 3.5, 3.0))
    names = ("mean_error", "error_spread", "absolute_error", "absolute_spread")
    calibration = ErrorCalibration(predictions=(10.0, 20.0, 40.0), rows=300, **dict(zip(names, curves, strict=True)))
    predictions, errors = random.uniform(0, 50, 80), random.normal(1, 5, 80)
    counts = random.integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), counts)
    of_training = regression_drift(
        errors, expected_regression_errors(calibration, predictions), counts[:, None].astype(np.float32)
    )
    of_a_snapshot = regression_drift(
        errors[repeated],
        expected_regression_errors(calibration, predictions[repeated]),
        single_window(len(repeated)),
    )
    for name in of_training._fields:
        assert getattr(of_training, name) == pytest.approx(getattr(of_a_snapshot, name))
    assert of_training.z == pytest.approx(of_a_snapshot.z)


def test_z_of_the_bias_is_half_normal_while_errors_come_as_expected() -> None:
    random = np.random.default_rng(0)
    deviation = random.uniform(1, 4, (2_000, 200))
    absolute, absolute_deviation = deviation * np.sqrt(2 / np.pi), deviation * np.sqrt(1 - 2 / np.pi)
    errors = random.normal(0.5, deviation)
    rows = zip(errors, deviation, absolute, absolute_deviation, strict=True)
    z = [
        regression_drift(error, ExpectedErrors(np.full(200, 0.5), *expected), single_window(200)).bias_z
        for error, *expected in rows
    ]
    assert np.mean(np.square(z)) == pytest.approx(1, abs=0.1)


def test_an_alarm_needs_the_threshold_of_z_and_the_floor_of_the_gap() -> None:
    # with 100 rows and a deviation of 4, a gap of 0.1 is a z of 2.5
    deviation = np.array([4.0, 4.0, 2.0])
    assert smallest_alarming_z(3.0, 0.1, 100, deviation).tolist() == [3.0, 3.0, 5.0]
    assert smallest_alarming_z(1.0, 0.1, 100, deviation).tolist() == [2.5, 2.5, 5.0]


def labelled(classes: int, shift: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 6,000 rows, and labels drawn from them after the first class became more likely."""
    odds = np.exp(rng.normal(0, 1.5, (6_000, classes)))
    true = odds * np.exp(shift * (np.arange(classes) == 0))
    chances = true / true.sum(axis=1, keepdims=True)
    codes = (chances.cumsum(axis=1) > rng.random((6_000, 1))).argmax(axis=1)
    return odds / odds.sum(axis=1, keepdims=True), codes


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_replaced_labels_are_told_apart_from_a_class_that_is_more_frequent_that_day(classes: int, shift: float) -> None:
    rng = np.random.default_rng(3)
    chances, codes = labelled(classes, shift, rng)
    others = (codes + rng.integers(1, classes, len(codes))) % classes
    replaced = np.where(rng.random(len(codes)) < 0.2, others, codes)
    windows = np.repeat(np.eye(6), 1_000, axis=0)
    assert random_label_share(chances, codes, windows) == pytest.approx(np.zeros(6), abs=0.07)
    assert random_label_share(chances, codes, windows).mean() == pytest.approx(0, abs=0.025)
    assert random_label_share(chances, replaced, windows).mean() == pytest.approx(0.2, abs=0.04)


def test_a_window_without_labels_has_no_share_of_random_ones_and_a_tiny_one_hardly_any() -> None:
    chances, codes = np.array([[0.99, 0.01], [0.5, 0.5]]), np.array([1, 0])
    found = random_label_share(chances, codes, np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert np.isnan(found[0])
    assert 0 < found[1] < 0.5


def test_many_classes_and_repeated_rows_are_counted() -> None:
    rng = np.random.default_rng(4)
    chances, codes = labelled(40, 0.0, rng)
    chances, codes = chances[:50], codes[:50]
    twice = random_label_share(np.tile(chances, (2, 1)), np.tile(codes, 2), single_window(100))
    assert twice == pytest.approx(random_label_share(chances, codes, np.full((50, 1), 2.0)))
