"""Rankings and distances of attributions, by hand."""

from itertools import permutations
from math import log2

import numpy as np
import pytest

from model.statistics.attribution import attribution_distance, attribution_ndcg, attribution_shares

REFERENCE = np.array([0.4, 0.3, 0.2, 0.1])


def ndcg(reference: np.ndarray, current: np.ndarray) -> float:
    return float(attribution_ndcg(reference, current[None])[0])


def distance(reference: np.ndarray, current: np.ndarray) -> float:
    return float(attribution_distance(reference, current[None])[0])


def test_the_same_ranking_scores_1_whatever_the_values() -> None:
    assert ndcg(REFERENCE, REFERENCE) == pytest.approx(1)
    assert ndcg(REFERENCE, np.array([9.0, 0.3, 0.02, 0.01])) == pytest.approx(1)


def test_a_swap_of_the_first_two_features_scores_as_reckoned_by_hand() -> None:
    ideal = 0.4 + 0.3 / log2(3) + 0.2 / 2 + 0.1 / log2(5)
    swapped = 0.3 + 0.4 / log2(3) + 0.2 / 2 + 0.1 / log2(5)
    assert ndcg(REFERENCE, np.array([0.3, 0.4, 0.2, 0.1])) == pytest.approx(swapped / ideal)


def test_the_reversed_ranking_scores_least() -> None:
    scores = {order: ndcg(REFERENCE, REFERENCE[list(order)]) for order in permutations(range(4))}
    assert min(scores, key=scores.__getitem__) == (3, 2, 1, 0)
    assert 0 < min(scores.values()) < max(scores.values()) == pytest.approx(1)


def test_ties_of_the_window_keep_the_order_of_the_reference() -> None:
    assert ndcg(REFERENCE[::-1].copy(), np.full(4, 0.2)) == pytest.approx(1)


def test_the_distance_is_the_share_that_moved() -> None:
    moved = np.array([0.1, 0.3, 0.2, 0.4])
    assert distance(REFERENCE, moved) == pytest.approx(0.3)
    assert distance(REFERENCE, 7 * REFERENCE) == pytest.approx(0)
    assert distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)


def test_nothing_attributed_is_shared_evenly() -> None:
    assert attribution_shares(np.zeros((2, 4))).tolist() == [[0.25] * 4] * 2
    assert ndcg(np.zeros(3), np.ones(3)) == 1


def test_many_windows_are_scored_at_once_as_each_alone() -> None:
    windows = np.random.default_rng(0).gamma(1.0, size=(20, 4)).round(1)
    windows[0] = 0.5
    singly = [(ndcg(REFERENCE, window), distance(REFERENCE, window)) for window in windows]
    together = (attribution_ndcg(REFERENCE, windows), attribution_distance(REFERENCE, windows))
    np.testing.assert_allclose(np.column_stack(together), singly)
