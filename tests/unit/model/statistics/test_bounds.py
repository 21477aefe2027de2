"""How far shares and mean errors of windows may stray: the bounds, and how often quiet windows exceed them."""

import numpy as np
import pytest

from model.statistics.bounds import (
    SMALLEST_EFFECT,
    commonest_values,
    highest_mean,
    highest_share,
    highest_stuck_share,
    lowest_share,
)


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


def test_a_column_is_stuck_where_one_number_fills_what_others_had() -> None:
    hits, alike = commonest_values(np.array([1.0, 1.0, 2.0, 3.0, 4.0]))
    assert (hits, alike) == (2, 4)
    limit = highest_stuck_share(40, 3, 1_000, 100, 0.001)
    assert limit == pytest.approx((1 + 0.04) / 2)
    assert highest_stuck_share(40, 3, 1_000, 0, 0.001) == 1.0


def test_a_number_that_is_nearly_always_the_same_may_be_so_in_a_window() -> None:
    assert highest_stuck_share(930, 1, 1_000, 54, 0.0001) == 1.0
