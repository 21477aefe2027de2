import numpy as np
import pytest

from evidently_workspace.checks.bounds import SMALLEST_EFFECT, highest_share, lowest_share


def test_a_large_window_is_allowed_at_least_the_smallest_effect_above_the_reference():
    assert highest_share(50, 1_000, 1_000_000, 0.5) == pytest.approx(0.05 + SMALLEST_EFFECT)


def test_a_small_window_is_allowed_more_than_a_large_one():
    assert highest_share(5, 100, 20, 0.001) > highest_share(5, 100, 2_000, 0.001)


def test_a_small_reference_allows_more_than_a_large_one():
    assert highest_share(1, 10, 100, 0.001) > highest_share(100, 1_000, 100, 0.001)


def test_the_lower_bound_mirrors_the_upper_one():
    assert lowest_share(95, 100, 50, 0.01) == pytest.approx(1 - highest_share(5, 100, 50, 0.01))


@pytest.mark.parametrize(("reference_rows", "window_rows"), [(45, 30), (45, 300), (1_000, 30)])
def test_quiet_windows_exceed_the_bound_no_more_often_than_the_alarm_rate(reference_rows, window_rows):
    random, rate, trials = np.random.default_rng(0), 0.02, 1_500
    # Shares as the prior believes them; the reference and the window are drawn from the same one.
    shares = random.beta(0.5, 0.5, trials)
    references = random.binomial(reference_rows, shares)
    windows = random.binomial(window_rows, shares)
    exceeded = [
        seen / window_rows > highest_share(int(hits), reference_rows, window_rows, rate)
        for hits, seen in zip(references, windows, strict=True)
    ]
    assert np.mean(exceeded) <= rate + 3 * np.sqrt(rate / trials)
