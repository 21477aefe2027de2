"""Distances between the attributions of windows and of the reference: ranking (nDCG) and shares."""

import numpy as np
import numpy.typing as npt

Attributions = npt.NDArray[np.float64]

NDCG_ALARM = 0.9
"""Amazon SageMaker Clarify's threshold: a ranking below it has drifted."""
MAX_EXPLAINED_ROWS = 500
"""Rows of a window that are explained: TreeSHAP takes some milliseconds a row, up to a hundred times what a prediction
does, and a mean over these many is steady enough to compare."""


def attribution_ndcg(reference: Attributions, current: Attributions) -> Attributions:
    """Return the nDCG of the ranking of the features in each window, (windows,); 1 if it is the reference's.

    `reference` (features,) and `current` (windows, features) are mean absolute attributions. As in Amazon SageMaker
    Clarify ("Feature attribution drift"; Nigenda et al. 2022, Amazon SageMaker Model Monitor, KDD): the features are
    ranked by their current attributions, each place i = 1, 2, ... earns the *reference* attribution of its feature
    divided by log2(i + 1), and the sum is divided by that of the reference's own ranking. Only the order of the current
    attributions counts, so it does not see a feature that matters much more or less in the same place.
    """
    discounts = 1 / np.log2(np.arange(2, len(reference) + 2))
    ideal = float(np.sort(reference)[::-1] @ discounts)
    if ideal <= 0:
        return np.ones(len(current))
    # equal current attributions keep the reference's order: a tie is no evidence of a change
    ranking = np.lexsort((np.broadcast_to(-reference, current.shape), -current), axis=-1)
    # the two sums add up in another order, so rounding can take equal ones just above 1
    return np.minimum(reference[ranking] @ discounts / ideal, 1.0)


def attribution_distance(reference: Attributions, current: Attributions) -> Attributions:
    """Return half the sum of absolute differences of the attributions' shares in each window, (windows,), from 0 to 1.

    It is the total variation distance: the part of all attribution that sits on other features than before.
    `reference` (features,) and `current` (windows, features) are mean absolute attributions.
    """
    differences = np.abs(attribution_shares(current) - attribution_shares(reference))
    return np.asarray(differences.sum(axis=-1) / 2)


def attribution_shares(attributions: Attributions) -> Attributions:
    """Return attributions (..., features) divided by their sum; equal shares where nothing is attributed."""
    totals = attributions.sum(axis=-1, keepdims=True)
    even = np.full_like(attributions, 1 / attributions.shape[-1])
    return np.asarray(np.divide(attributions, totals, out=even, where=totals > 0))


__all__ = [
    "MAX_EXPLAINED_ROWS",
    "NDCG_ALARM",
    "attribution_distance",
    "attribution_ndcg",
    "attribution_shares",
]
