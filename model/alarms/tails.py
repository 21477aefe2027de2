"""Extreme quantiles, estimated from the largest values of a sample."""

from math import log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.floating[Any]]

_LIGHTEST_SHAPE, _HEAVIEST_SHAPE = 1e-6, 0.5  # 1e-6 is exponential to six digits and spares a special case
_MIN_EXCESSES = 10
# Excesses in units of their mean: fine enough for a distance, and far enough for 1 draw in 10,000 at shape 0.5
_GRID = np.concatenate([[0.0], np.geomspace(0.03, 200, 40)])


def fit_excesses(ascending: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Return scale and shape (fits,) of positive excesses (n,) under each row of weights (fits, n)."""
    shares = weights / weights.sum(axis=1, keepdims=True)
    exceeded = 1 - np.cumsum(shares, axis=1) + shares / 2
    mean = shares @ ascending
    weighted = (shares * exceeded) @ ascending
    # equal excesses have mean = 2 * weighted, and no shape to see
    difference = np.maximum(mean - 2 * weighted, 1e-9 * mean)
    shape = np.clip(2 - mean / difference, _LIGHTEST_SHAPE, _HEAVIEST_SHAPE)
    return mean * (1 - shape), shape


def tail_quantile(values: Numbers, upper_share: float, tail_share: float) -> float:
    """Return the value exceeded with probability `upper_share`, also where the sample hardly reaches.

    The part of the sample above its (1 - tail_share) quantile is taken as the tail, and the tail as exponential.
    """
    if upper_share >= tail_share:
        return float(np.quantile(values, 1 - upper_share))
    start = float(np.quantile(values, 1 - tail_share))
    excesses = values[values > start] - start
    return start + (float(excesses.mean()) if len(excesses) else 0.0) * log(tail_share / upper_share)


class SmoothTails:
    """A number column whose largest and smallest values stand for tails that reach beyond them.

    Rows drawn from a sample never exceed its maximum, though rows of the future will: for a skewed column that
    makes windows in control look closer to the reference than they will be. So each of the outermost 2 * sqrt(n) rows
    on either side, when drawn, is replaced by a random value of the tail fitted to them.
    """

    def __init__(self, values: Numbers) -> None:
        present = np.flatnonzero(~np.isnan(values))
        ordered = present[np.argsort(values[present], kind="stable")]
        # at most a third on either side, so that no row is in both tails
        size = min(int(2 * sqrt(len(ordered))), len(ordered) // 3)
        self._tails: list[tuple[npt.NDArray[np.intp], Numbers]] = []
        points, carriers = [], [np.arange(len(values))]
        for rows, sign in ((ordered[-size - 1 :], 1.0), (ordered[: size + 1][::-1], -1.0)):
            excesses = sign * (values[rows] - values[rows[:1]])
            outer = excesses > 0
            # tails of few or repeated values (counts, codes, flags) are left as they are
            if len(np.unique(excesses[outer])) >= _MIN_EXCESSES:
                self._tails.append((rows[outer], excesses[outer]))
                middles = np.append((_GRID[:-1] + _GRID[1:]) / 2, _GRID[-1])
                points.append(values[rows[0]] + sign * middles * excesses[outer].mean())
                carriers.append(np.resize(rows[outer], len(middles)))
        self.values: Numbers = np.concatenate([values, *points])
        """The column's values followed by those of the tails: the rows that `counts_with_tails` counts."""
        replaced = [outermost for outermost, _ in self._tails]
        self.replaced: npt.NDArray[np.intp] = np.concatenate([*replaced, np.empty(0, dtype=np.intp)])
        """The outermost rows, whose draws become draws of the tails."""
        self.rows: npt.NDArray[np.intp] = np.concatenate(carriers)
        """The row that each of `values` is, or for a value of a tail one of the outermost rows that it stands for."""

    def shares(self, weights: Numbers) -> list[Numbers]:
        """Return for each tail the shares (populations, grid) fitted under each population's row weights."""
        return [self._tail_shares(excesses, weights[:, rows]) for rows, excesses in self._tails]

    @staticmethod
    def _tail_shares(excesses: Numbers, weights: Numbers) -> Numbers:
        scale, shape = (part[:, None] for part in fit_excesses(excesses, weights))
        exceeded = (1 + shape * (_GRID * excesses.mean()) / scale) ** (-1 / shape)
        return np.asarray(-np.diff(exceeded, axis=1, append=0.0))

    def counts_with_tails(self, counts: Counts, shares: list[Numbers], rng: np.random.Generator) -> Counts:
        """Return counts (values, windows) in which draws of outermost rows have become draws of the tails."""
        kept = counts.copy()
        kept[self.replaced] = 0
        return np.concatenate([kept, self.draws(counts, shares, rng)])

    def draws(self, counts: Counts, shares: list[Numbers], rng: np.random.Generator) -> Counts:
        """Return how often the values of the tails are drawn for draws of outermost rows, (tail values, windows)."""
        blocks = [np.empty((0, counts.shape[1]), dtype=counts.dtype)]
        for (outer, _), tail in zip(self._tails, shares, strict=True):
            drawn = counts[outer].sum(axis=0).astype(np.int64)
            blocks.append(rng.multinomial(drawn, tail).T.astype(counts.dtype))
        return np.concatenate(blocks)
