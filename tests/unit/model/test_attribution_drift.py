"""Rankings and distances of attributions, by hand."""

from itertools import permutations
from math import log2

import numpy as np
import pytest

from model.statistics.attribution import attribution_distance, attribution_ndcg, attribution_shares

REFERENCE = np.array([0.4, 0.3, 0.2, 0.1])


def test_the_same_ranking_scores_1_whatever_the_values() -> None:
    assert attribution_ndcg(REFERENCE, REFERENCE) == pytest.approx(1)
    assert attribution_ndcg(REFERENCE, np.array([9.0, 0.3, 0.02, 0.01])) == pytest.approx(1)


def test_a_swap_of_the_first_two_features_scores_as_reckoned_by_hand() -> None:
    ideal = 0.4 + 0.3 / log2(3) + 0.2 / 2 + 0.1 / log2(5)
    swapped = 0.3 + 0.4 / log2(3) + 0.2 / 2 + 0.1 / log2(5)
    assert attribution_ndcg(REFERENCE, np.array([0.3, 0.4, 0.2, 0.1])) == pytest.approx(swapped / ideal)


def test_the_reversed_ranking_scores_least() -> None:
    scores = {order: attribution_ndcg(REFERENCE, REFERENCE[list(order)]) for order in permutations(range(4))}
    assert min(scores, key=scores.__getitem__) == (3, 2, 1, 0)
    assert 0 < min(scores.values()) < max(scores.values()) == pytest.approx(1)


def test_ties_of_the_window_keep_the_order_of_the_reference() -> None:
    assert attribution_ndcg(REFERENCE[::-1].copy(), np.full(4, 0.2)) == pytest.approx(1)


def test_the_distance_is_the_share_that_moved() -> None:
    moved = np.array([0.1, 0.3, 0.2, 0.4])
    assert attribution_distance(REFERENCE, moved) == pytest.approx(0.3)
    assert attribution_distance(REFERENCE, 7 * REFERENCE) == pytest.approx(0)
    assert attribution_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)


def test_nothing_attributed_is_shared_evenly() -> None:
    assert attribution_shares(np.zeros((2, 4))).tolist() == [[0.25] * 4] * 2
    assert attribution_ndcg(np.zeros(3), np.ones(3)) == 1
