"""Extreme values, against distributions whose tails are known."""

import numpy as np
import pytest
from scipy.stats import expon, genpareto

from model.alarms.tails import SmoothTails, fit_excesses, tail_quantile


def test_a_fit_recovers_the_distribution_that_was_drawn_from() -> None:
    drawn = np.sort(genpareto(0.3, scale=2).rvs(20_000, random_state=np.random.default_rng(0)))
    scale, shape = fit_excesses(drawn, np.ones((1, len(drawn))))
    assert scale[0] == pytest.approx(2, rel=0.05)
    assert shape[0] == pytest.approx(0.3, abs=0.04)


def test_a_bounded_tail_is_taken_as_exponential() -> None:
    scale, shape = fit_excesses(np.linspace(0.01, 1, 100), np.ones((1, 100)))
    assert shape[0] == pytest.approx(0, abs=1e-5)
    assert scale[0] == pytest.approx(0.505, rel=1e-3)


def test_a_quantile_beyond_the_sample_is_extrapolated() -> None:
    estimates = [
        tail_quantile(expon.rvs(size=2_000, random_state=np.random.default_rng(seed)), 1e-4, 0.05) for seed in range(30)
    ]
    assert np.median(estimates) == pytest.approx(expon.isf(1e-4), rel=0.1)


def test_a_quantile_within_the_sample_is_the_samples() -> None:
    assert tail_quantile(np.arange(101.0), 0.2, 0.05) == 80
    assert tail_quantile(np.zeros(100), 0.001, 0.05) == 0


def test_tails_reach_beyond_the_sample_and_keep_the_number_of_rows() -> None:
    values = np.append(np.random.default_rng(0).lognormal(size=300), np.nan)
    tails = SmoothTails(values)
    assert np.nanmax(tails.values) > 2 * np.nanmax(values)
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(len(values)), size=50)
    counts = rng.multinomial(200, weights).T.astype(np.float32)
    with_tails = tails.counts_with_tails(counts, tails.shapes(weights), rng)
    assert with_tails.shape == (len(tails.values), 50)
    np.testing.assert_array_equal(with_tails.sum(axis=0), 200)
    np.testing.assert_array_equal(counts.sum(axis=0), 200)


@pytest.mark.parametrize("values", [[1.0] * 100, [0.0, 1.0] * 50, [np.nan] * 5, [1.0, 2.0, 3.0], [*range(15)], []])
def test_flags_codes_and_few_values_are_left_as_they_are(values: list[float]) -> None:
    np.testing.assert_array_equal(SmoothTails(np.array(values)).values, values)


@pytest.mark.parametrize("cells", [np.arange(82), np.arange(82) // 7])
def test_draws_one_by_one_are_distributed_as_draws_place_by_place(
    cells: np.ndarray[tuple[int], np.dtype[np.intp]], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).lognormal(size=2_000)
    tails, rng = SmoothTails(values), np.random.default_rng(1)
    counted = tails.count_in(cells)
    weights = rng.dirichlet(np.ones(len(values)), size=2_000)
    shapes = tails.shapes(weights)
    # each of the outermost rows once in each window: about 90 draws of each tail
    counts = np.ones((len(values), len(weights)), dtype=np.float32)
    found = []
    for most in (np.inf, 0):
        monkeypatch.setattr("model.alarms.tails._DRAWN_ONE_BY_ONE", most)
        found.append(tails.draws(counts, shapes, rng))
    for one_by_one, place_by_place, shape, of_tail in zip(*found, shapes, counted, strict=True):
        assert len(of_tail) == len(one_by_one) == shape.shares.shape[1]
        draws = one_by_one.sum(axis=0)[0]
        expected = shape.shares.sum(axis=0) * draws
        variance = (shape.shares * (1 - shape.shares)).sum(axis=0) * draws
        for drawn in (one_by_one, place_by_place):
            np.testing.assert_array_equal(drawn.sum(axis=0), draws)
            often = expected > 10
            assert np.abs((drawn.sum(axis=1) - expected)[often] / np.sqrt(variance[often] + 1e-9)).max() < 4.5
