"""A changed relation between inputs and labels, for concept drift that leaves every other alarm quiet."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import ClassPool, LabelValue, Matrix, NumberPool, Pool

Side = NDArray[np.bool_]


def changed_labels(pool: Pool) -> Sequence[LabelValue]:
    """Return the label of each row under another relation between inputs and labels.

    Raises NoSuchTrafficError where the rows allow none.
    """
    if isinstance(pool, NumberPool):
        return tuple(mirrored_numbers(pool.numbers).tolist())
    return pool.named(swapped_classes(pool))


def mirrored_numbers(numbers: Matrix) -> Matrix:
    """Return numbers of which the highest has changed places with the lowest, the second with the second lowest.

    So what let expect a high number now goes with a low one, while the distribution of the numbers stays exactly as it
    was: the alarm should be about the relation. Raises NoSuchTrafficError where all the numbers are the same.
    """
    if np.ptp(numbers) == 0:
        raise NoSuchTrafficError("all labels of the hold-out rows are the same number, so no relation can be changed")
    order = np.argsort(numbers, kind="stable")
    mirrored = np.empty_like(numbers)
    mirrored[order] = numbers[order[::-1]]
    return mirrored


def swapped_classes(pool: ClassPool) -> NDArray[np.int64]:
    """Return the class index of each row after every row on one side of a split got the next class.

    Of all splits that put a quarter to three quarters of the rows on one side, the one is taken whose swap
    moves the shares of the classes least: the alarm should be about the relation, not about the label's own
    distribution. Raises NoSuchTrafficError if no feature can be split so.
    """
    candidates = [_swap(pool, side) for side in _sides(pool) if 0.25 <= side.mean() <= 0.75]
    if not candidates:
        raise NoSuchTrafficError("no feature splits the hold-out rows, so no relation can be changed on one side of it")
    return min(candidates, key=lambda swapped: _share_change(pool, swapped))


def _sides(pool: Pool) -> Iterator[Side]:
    for feature in pool.features:
        cells = [row[feature.name] for row in pool.rows]
        if feature.type == "number":
            numbers = np.array(cells, dtype=np.float64)
            if not np.isnan(numbers).all():
                yield numbers > np.nanmedian(numbers)
        else:
            for value in sorted({cell for cell in cells if cell is not None}):
                yield np.array([cell == value for cell in cells])


def _swap(pool: ClassPool, side: Side) -> NDArray[np.int64]:
    following = (pool.class_indexes + 1) % len(pool.classes)
    return np.where(side, following, pool.class_indexes)


def _share_change(pool: ClassPool, swapped: NDArray[np.int64]) -> float:
    before = np.bincount(pool.class_indexes, minlength=len(pool.classes))
    after = np.bincount(swapped, minlength=len(pool.classes))
    return float(np.abs(after - before).sum())
