"""Extreme quantiles, estimated from the largest values of a sample."""

from dataclasses import dataclass
from math import log, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.floating[Any]]

_LIGHTEST_SHAPE, _HEAVIEST_SHAPE = 1e-6, 0.5  # 1e-6 is exponential to six digits and spares a special case
_MIN_EXCESSES = 10
# Excesses in units of their mean: fine enough for a distance, and far enough for 1 draw in 10,000 at shape 0.5
_FIRST, _LAST, _STEPS = 0.03, 200.0, 39
_GRID = np.concatenate([[0.0], np.geomspace(_FIRST, _LAST, _STEPS + 1)])
_RATIO = (_LAST / _FIRST) ** (1 / _STEPS)
_DRAWN_ONE_BY_ONE = 100  # draws of a window's tail: below that, one by one is faster than place by place


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


class TailShape(NamedTuple):
    """What a tail is like in each of several populations: scale and shape, (populations,) each.

    `shares` are those of its draws that each of its places gets, (populations, places).
    """

    scale: Numbers
    shape: Numbers
    shares: Numbers


@dataclass
class _Tail:
    """The outermost rows on one side and their excesses, (rows,), and the place that each value of the grid counts in.

    Neighbouring values may count in one place. The places are numbered from the inside out.
    """

    rows: npt.NDArray[np.intp]
    excesses: Numbers
    places: npt.NDArray[np.intp]

    def shape_in(self, weights: Numbers) -> TailShape:
        scale, shape = fit_excesses(self.excesses, weights)
        unit = _GRID * self.excesses.mean() / scale[:, None]
        exceeded = (1 + shape[:, None] * unit) ** (-1 / shape[:, None])
        starts = np.flatnonzero(np.diff(self.places, prepend=-1))
        return TailShape(scale, shape, np.asarray(-np.diff(exceeded[:, starts], axis=1, append=0.0)))

    def draw(self, numbers: npt.NDArray[np.int64], tail: TailShape, rng: np.random.Generator) -> npt.NDArray[Any]:
        """Return how many of so many draws of each window, (windows,), are in each place, (places, windows)."""
        windows, places = tail.shares.shape
        if numbers.sum() > _DRAWN_ONE_BY_ONE * windows:
            return rng.multinomial(numbers, tail.shares).T
        window = np.repeat(np.arange(windows), numbers)
        # the fitted distribution turned round, for exponential draws: a generalised Pareto, in means of the excesses
        unit = tail.scale / tail.shape / self.excesses.mean()
        drawn = np.expm1(rng.standard_exponential(len(window)) * tail.shape[window]) * unit[window]
        # the value of the grid below each, by its logarithm; half a step outside the grid is its first or last value
        steps = np.log(np.clip(drawn, _FIRST / sqrt(_RATIO), _LAST * sqrt(_RATIO)) / _FIRST) / log(_RATIO)
        place = self.places[np.floor(steps + 1).astype(np.intp)]
        return np.bincount(place * windows + window, minlength=places * windows).reshape(places, windows)


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
        self._tails: list[_Tail] = []
        points, carriers = [], [np.arange(len(values))]
        for rows, sign in ((ordered[-size - 1 :], 1.0), (ordered[: size + 1][::-1], -1.0)):
            excesses = sign * (values[rows] - values[rows[:1]])
            outer = excesses > 0
            # tails of few or repeated values (counts, codes, flags) are left as they are
            if len(np.unique(excesses[outer])) >= _MIN_EXCESSES:
                self._tails.append(_Tail(rows[outer], excesses[outer], np.arange(len(_GRID))))
                middles = np.append((_GRID[:-1] + _GRID[1:]) / 2, _GRID[-1])
                points.append(values[rows[0]] + sign * middles * excesses[outer].mean())
                carriers.append(np.resize(rows[outer], len(middles)))
        self.values: Numbers = np.concatenate([values, *points])
        """The column's values followed by those of the tails: the rows that `counts_with_tails` counts."""
        replaced = [tail.rows for tail in self._tails]
        self.replaced: npt.NDArray[np.intp] = np.concatenate([*replaced, np.empty(0, dtype=np.intp)])
        """The outermost rows, whose draws become draws of the tails."""
        self.rows: npt.NDArray[np.intp] = np.concatenate(carriers)
        """The row that each of `values` is, or for a value of a tail one of the outermost rows that it stands for."""

    def count_in(self, cells: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
        """Let values of a tail that lie in one of these cells, (tail values,), count together; return each one's cells.

        `draws` then returns as many counts for each tail, in this order.
        """
        found = []
        for tail, of_tail in zip(self._tails, cells.reshape(-1, len(_GRID)), strict=True):
            starts = np.diff(of_tail, prepend=-1) != 0
            tail.places = np.cumsum(starts) - 1
            found.append(of_tail[starts])
        return found

    def shapes(self, weights: Numbers) -> list[TailShape]:
        """Return what each tail is like in each population given by row weights, (populations, rows)."""
        return [tail.shape_in(weights[:, tail.rows]) for tail in self._tails]

    def counts_with_tails(self, counts: Counts, shapes: list[TailShape], rng: np.random.Generator) -> Counts:
        """Return counts (values, windows) in which draws of outermost rows have become draws of the tails."""
        kept = counts.copy()
        kept[self.replaced] = 0
        return np.concatenate([kept, *self.draws(counts, shapes, rng)], dtype=counts.dtype)

    def draws(self, counts: Counts, shapes: list[TailShape], rng: np.random.Generator) -> list[npt.NDArray[Any]]:
        """Return for each tail how often its places are drawn for draws of outermost rows, (places, windows)."""
        return [
            tail.draw(counts[tail.rows].sum(axis=0).astype(np.int64), shape, rng)
            for tail, shape in zip(self._tails, shapes, strict=True)
        ]
