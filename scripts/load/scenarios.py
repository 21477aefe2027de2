"""What the traffic is like: each scenario is a seeded, endless stream of labelled rows from a pool.

The same pool and seed give the same rows in the same order. No scenario touches the network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import LabelValue, Matrix, NumberPool, Pool, Row
from scripts.load.relations import changed_labels

_CHUNK = 512
_DRIFT_SHIFT = 1.25
_DRIFT_STRENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_RARE_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """One row to predict, its true label, and what kind of row it is, for the summary."""

    row: Row
    label: LabelValue
    kind: str


Scenario = Callable[[Pool, int], Iterator[Sample]]


def steady(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows drawn with replacement: the world as it was when the model was trained."""
    return _drawn(pool, seed, "steady", None, pool.labels)


def data_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows under covariate shift: P(inputs) moves and P(label | inputs) stays.

    Rows keep their own labels and are only drawn with unequal weights, so nothing but the distribution of the
    inputs can change (Shimodaira 2000, "Improving predictive inference under covariate shift by weighting the
    log-likelihood function"). The weights are exp(k * z), the exponential tilt, with z the standardized
    position along a seeded direction; for normal inputs that moves the mean by k deviations along it.
    """
    return _drawn(pool, seed, "data_drift", drift_weights(pool.coordinates(), seed), pool.labels)


def target_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows under label shift: one common class, or the upper or lower half of the numbers, becomes rare.

    P(inputs | label) stays. The class is seeded among those with at least an even share of the rows, so that its loss
    is large. Where labels do not follow from the inputs alone, the same inputs then have other labels more often: for
    numbers above all that is a change of their relation too, and raises concept drift beside target drift.
    """
    if isinstance(pool, NumberPool):
        weights = rare_half_weights(pool.numbers, seed)
    else:
        weights = rare_class_weights(pool.class_indexes, seed)
    return _drawn(pool, seed, "target_drift", weights, pool.labels)


def concept_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows as in `steady` whose labels no longer follow from the inputs as they did.

    The inputs keep their distribution. Of classes, each becomes the next one on one side of a split of one feature,
    so accuracy falls by about the share of rows on that side. Numbers are mirrored: high ones become low.
    """
    return _drawn(pool, seed, "concept_drift", None, changed_labels(pool))


def drift_weights(coordinates: Matrix, seed: int) -> Matrix:
    """Return the probability of drawing each row so that at least one column's mean moves 1.25 deviations.

    `coordinates` has shape (rows, columns), standardized. The direction is a random vector after one
    multiplication with the correlation matrix, which leans it towards what the columns share: a plain random
    direction among 30 columns would move each of them only a little. Positions beyond 2 are cut to 2, so that
    no single outlier is drawn alone. The weakest strength k that reaches the shift is taken.
    """
    rng = np.random.default_rng((seed, 1))
    correlation = coordinates.T @ coordinates / len(coordinates)
    position = coordinates @ (correlation @ rng.standard_normal(coordinates.shape[1]))
    position = np.clip((position - position.mean()) / position.std(), -2.0, 2.0)
    weights = np.full(len(coordinates), 1 / len(coordinates))
    for strength in _DRIFT_STRENGTHS:
        weights = np.exp(strength * position)
        weights /= weights.sum()
        if np.abs(weights @ coordinates).max() >= _DRIFT_SHIFT:
            break
    return weights


def rare_class_weights(class_indexes: NDArray[np.int64], seed: int) -> Matrix:
    """Return the probability of drawing each row so that one common class has a share of 2 %."""
    rng = np.random.default_rng((seed, 2))
    present, counts = np.unique(class_indexes, return_counts=True)
    common = present[counts * len(present) >= len(class_indexes)]
    is_rare = class_indexes == rng.choice(common)
    weights = np.where(is_rare, _RARE_SHARE / is_rare.sum(), (1 - _RARE_SHARE) / max((~is_rare).sum(), 1))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def rare_half_weights(numbers: Matrix, seed: int) -> Matrix:
    """Return the probability of drawing each row so that the numbers above, or up to, the median have a share of 2 %.

    Raises NoSuchTrafficError where all the numbers are the same.
    """
    rng = np.random.default_rng((seed, 2))
    median = np.median(numbers)
    high = numbers > median if (numbers > median).any() else numbers >= median
    if high.all():
        raise NoSuchTrafficError("all labels of the hold-out rows are the same number, so none can become rare")
    is_rare = high == bool(rng.integers(2))
    weights = np.where(is_rare, _RARE_SHARE / is_rare.sum(), (1 - _RARE_SHARE) / (~is_rare).sum())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _drawn(pool: Pool, seed: int, kind: str, weights: Matrix | None, labels: Sequence[LabelValue]) -> Iterator[Sample]:
    rng = np.random.default_rng((seed, 0))
    while True:
        for index in rng.choice(len(pool.rows), size=_CHUNK, p=weights).tolist():
            yield Sample(pool.rows[index], labels[index], kind)
