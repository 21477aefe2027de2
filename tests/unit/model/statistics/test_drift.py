"""The distances, by examples that can be checked by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from model.statistics.drift import JensenShannonStatistic, WassersteinStatistic


def test_a_shift_by_one_standard_deviation_has_distance_one() -> None:
    reference = pd.Series([0.0, 2.0])
    window = pd.Series([1.0, 3.0])
    assert WassersteinStatistic(reference, window).distances(np.ones((2, 1))) == pytest.approx([1.0])


def test_counts_weigh_the_rows_as_repeated_rows_would() -> None:
    rng = np.random.default_rng(0)
    reference, population = pd.Series(rng.normal(size=40)), pd.Series(np.round(rng.normal(size=60), 1))
    counts = rng.multinomial(30, np.full(60, 1 / 60), size=5).T.astype(float)
    expected = [
        wasserstein_distance(reference, np.repeat(population, column.astype(int))) / reference.std(ddof=0)
        for column in counts.T
    ]
    np.testing.assert_allclose(WassersteinStatistic(reference, population).distances(counts), expected)


def test_missing_numbers_are_left_out() -> None:
    reference, window = pd.Series([0.0, 2.0, np.nan]), pd.Series([1.0, np.nan, 3.0])
    assert WassersteinStatistic(reference, window).distances(np.ones((3, 1))) == pytest.approx([1.0])


def test_a_constant_reference_does_not_divide_by_zero() -> None:
    statistic = WassersteinStatistic(pd.Series([5.0, 5.0]), pd.Series([5.0, 6.0]))
    assert statistic.distances(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx([0.0, 1000.0])


def test_category_shares_are_compared_with_new_ones_included() -> None:
    reference = pd.Series(["a", "a", "b", None])
    window = pd.Series(["b", None, "new", "b"])
    expected = jensenshannon([2 / 3, 1 / 3, 0], [0, 2 / 3, 1 / 3])
    assert JensenShannonStatistic(reference, window).distances(np.ones((4, 1))) == pytest.approx([expected])


def test_equal_shares_have_distance_zero_not_nan() -> None:
    shares = pd.Series(["a"] * 7 + ["b"] * 3)
    assert JensenShannonStatistic(shares, shares).distances(np.ones((10, 1))) == pytest.approx([0.0])


def test_a_window_without_values_has_no_distance() -> None:
    counts = np.array([[1.0, 0.0], [0.0, 1.0]])
    numbers = WassersteinStatistic(pd.Series([1.0, 2.0]), pd.Series([1.0, np.nan])).distances(counts)
    texts = JensenShannonStatistic(pd.Series(["a", "b"]), pd.Series(["a", None])).distances(counts)
    assert np.isnan([numbers[1], texts[1]]).all()
    assert np.isfinite([numbers[0], texts[0]]).all()
    nothing = JensenShannonStatistic(pd.Series(["a"]), pd.Series([None, None])).distances(counts)
    assert np.isnan(nothing).all()
