"""What a probability is worth: chances near the truth, within bounds, never falling."""

import numpy as np
import pytest

from model.artifact.manifest import Calibration
from model.statistics.calibration import expected_errors, fit_calibration

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def draw(rows: int, seed: int, worth: "np.ufunc | object") -> tuple[Numbers, "np.ndarray"]:
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0.4, 1.0, rows)
    return probabilities, rng.random(rows) < worth(probabilities)  # type: ignore[operator]


def fitted(rows: int, seed: int, worth: object) -> Calibration:
    return fit_calibration(*draw(rows, seed, worth), np.random.default_rng(0))


def log_loss(chance: Numbers, right: "np.ndarray") -> float:
    return float(-np.log(np.where(right, chance, 1 - chance)).mean())


@pytest.mark.parametrize("rows", [100, 300, 2_000])
def test_a_model_too_sure_of_itself_is_brought_back_to_the_truth(rows: int) -> None:
    probabilities, right = draw(5_000, 99, too_sure)
    losses = [log_loss(1 - expected_errors(fitted(rows, seed, too_sure), probabilities), right) for seed in range(4)]
    assert np.mean(losses) < log_loss(np.clip(probabilities, 0.005, 0.995), right)
    assert np.mean(losses) < log_loss(too_sure(probabilities), right) + 2 / rows + 0.01


def too_sure(probabilities: Numbers) -> Numbers:
    return 0.3 + 0.6 * (probabilities - 0.4)


def step(probabilities: Numbers) -> Numbers:
    return np.where(probabilities < 0.7, 0.3, 0.95)


def chance_right(calibration: Calibration, probability: float) -> float:
    return 1 - float(expected_errors(calibration, np.array([probability]))[0])


def test_a_calibrated_chance_is_linear_between_knots_and_level_outside() -> None:
    calibration = Calibration(probabilities=(0.4, 0.6, 1.0), calibrated=(0.3, 0.5, 0.9), rows=10)
    chances = 1 - expected_errors(calibration, np.array([0.0, 0.4, 0.5, 0.6, 0.9, 1.0, 1.1]))
    assert chances.tolist() == pytest.approx([0.3, 0.3, 0.4, 0.5, 0.8, 0.9, 0.9])


def test_many_rows_that_no_curve_fits_are_calibrated_by_steps() -> None:
    assert fitted(3_000, 0, step).method == "isotonic"
    assert fitted(300, 0, step).method == "logistic", "too few rows for steps"
    assert chance_right(fitted(3_000, 0, step), 0.6) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("rows", [20, 200, 2_000])
@pytest.mark.parametrize("right", [True, False])
def test_nothing_is_certain_even_if_all_rows_were_right_or_wrong(rows: int, right: bool) -> None:
    probabilities = np.linspace(0.4, 1.0, rows)
    calibration = fit_calibration(probabilities, np.full(rows, right), np.random.default_rng(0))
    assert min(calibration.calibrated) >= 1 / (rows + 2) - 1e-12
    assert max(calibration.calibrated) <= 1 - 1 / (rows + 2) + 1e-12
    assert abs(chance_right(calibration, 0.7) - right) < 0.1


def test_a_probability_that_misleads_is_worth_the_mean_rate_never_a_falling_line() -> None:
    calibration = fitted(400, 1, lambda probabilities: 1.2 - probabilities)
    assert chance_right(calibration, 0.4) == pytest.approx(chance_right(calibration, 1.0))


def test_the_same_rows_and_seed_give_the_same_calibration() -> None:
    assert fitted(1_500, 3, too_sure) == fitted(1_500, 3, too_sure)
