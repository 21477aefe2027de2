"""Thresholds of drift alarms: how far an unchanged window may lie from the reference by chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from model.alarms.policy import AlarmPolicy
from model.alarms.tails import SmoothTails, tail_quantile
from model.artifact.manifest import DriftMethod, DriftThreshold
from model.errors import DataError
from model.statistics.drift import Distances, build_statistic, column_deviation
from model.statistics.windows import Counts

WINDOW_ROWS = (10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
FLOORS: Mapping[DriftMethod, float] = AlarmPolicy().drift_floors
FALSE_ALARM_RATE = AlarmPolicy().false_alarm_rate
REPLICATES = 4_000
_MIN_REPLICATES, _REPLICATED_COLUMNS = 1_000, 200_000


def replicates_for(columns: int) -> int:
    """Return how many windows of each size are drawn: fewer where there are more than 50 columns.

    The largest of many distances varies less from window to window than one alone, so fewer show where its tail is.
    """
    return max(_MIN_REPLICATES, min(REPLICATES, _REPLICATED_COLUMNS // max(columns, 1)))


TAIL_SHARE = 0.05
_CELLS_PER_CHUNK = 150_000  # rows x windows in one array: 600 kB of float32, so that it stays in a core's cache
_ROWS_DRAWN_ONE_BY_ONE = 8  # one of so many rows of the population: below that, drawing row by row is faster
_CELLS = 128
_COLUMNS_PER_BLOCK = 4  # counted together, so that their cells stay in a core's cache too

Methods = Mapping[str, DriftMethod]


@dataclass(frozen=True)
class Limits:
    """Calibrated thresholds of a family: those of the columns, and one tuple for each other statistic."""

    columns: tuple[DriftThreshold, ...]
    others: tuple[tuple[float, ...], ...]


class NullDistribution(Protocol):
    """What draws one statistic for windows in which nothing has changed."""

    def prepare(self, weights: npt.NDArray[np.float64]) -> list[Any]:
        """Return what it needs to know of populations given by row weights, (populations, rows)."""

    def distances(self, counts: Counts, prepared: list[Any]) -> Distances:
        """Return the statistic, (windows,), from counts (rows, windows); window i is drawn from population i."""


def calibrate_thresholds(
    reference: pd.DataFrame,
    population: pd.DataFrame,
    methods: Methods,
    rng: np.random.Generator,
    *,
    others: Sequence[NullDistribution] = (),
    false_alarm_rate: float = FALSE_ALARM_RATE,
    window_rows: Sequence[int] = WINDOW_ROWS,
    replicates: int | None = None,
    floors: Mapping[DriftMethod, float] = FLOORS,
    progress: Callable[[float], None] = lambda _: None,
) -> Limits:
    """Return thresholds such that a window in control raises any alarm with probability `false_alarm_rate`.

    `reference` are the fixed rows that windows are compared with, `population` all rows known at training time, both
    with the columns of `methods`. A window in control, of m rows, is drawn as it may come in the future: first a
    population (the rows with weights from a flat Dirichlet distribution: the Bayesian bootstrap, Rubin 1981, The Annals
    of Statistics 9(1); with tails that reach beyond the sample, see `SmoothTails`), then m rows of it. The first draw
    stands for the sampling error of the training data: it keeps the thresholds of large windows from sinking to zero.

    The alarms of a window are one family, as in the single-step methods of Westfall and Young (1993, Resampling-Based
    Multiple Testing): each distance is expressed as its excess over its own 95 % quantile in units of its mean excess,
    so that in the tail, which alone matters, columns with skewed and with even noise get about the same share of the
    false alarms. The largest is taken per window, and its (1 - rate) quantile, found by `tail_quantile`, is turned back
    into a threshold for each column.

    Measured on windows of known populations, averaged over training sets of 200 rows, with no floors and the rate
    0.001: up to 0.002 for normal columns, 0.005 to 0.010 for heavy-tailed (log-normal) ones.

    A column without any value in the reference gets no threshold. `progress` is called with the share of the work done.
    Raises DataError that names a column whose numbers are too far apart.
    """
    methods = {name: method for name, method in methods.items() if reference[name].notna().any()}
    columns = _NullColumns(methods, reference, population, rng)
    replicates = replicates or replicates_for(columns.number)
    with np.errstate(over="ignore", invalid="ignore"):  # a limit that is not finite is reported below
        drawn = _draw_null_windows(
            columns, others, len(population), window_rows, replicates=replicates, rng=rng, progress=progress
        )
        family = np.array([_family_limits(distances, false_alarm_rate) for distances in drawn]).T
    unusable = [name for name, limit in zip(methods, family, strict=False) if not np.isfinite(limit).all()]
    if unusable:
        raise DataError(
            f"column {unusable[0]!r} holds numbers too far apart to measure drift; correct them or drop the column"
        )
    limits = family.tolist()
    thresholds = tuple(
        DriftThreshold(
            column=column,
            method=method,
            window_rows=tuple(window_rows),
            thresholds=tuple(limit),
            floor=floors[method],
        )
        for (column, method), limit in zip(methods.items(), limits[: len(methods)], strict=True)
    )
    return Limits(thresholds, tuple(tuple(limit) for limit in limits[len(methods) :]))


def _draw_null_windows(
    columns: "_NullColumns",
    others: Sequence[NullDistribution],
    population_rows: int,
    window_rows: Sequence[int],
    *,
    replicates: int,
    rng: np.random.Generator,
    progress: Callable[[float], None],
) -> npt.NDArray[np.float64]:
    """Return the statistics of windows in control, (window sizes, statistics, replicates)."""
    drawn = np.empty((len(window_rows), columns.number + len(others), replicates))
    chunk = max(1, _CELLS_PER_CHUNK // population_rows)
    for start in range(0, replicates, chunk):
        stop = min(start + chunk, replicates)
        weights = rng.dirichlet(np.ones(population_rows), size=stop - start)
        sums = _sums_of(weights)
        prepared, known = columns.prepare(weights), [statistic.prepare(weights) for statistic in others]
        for place, rows in enumerate(window_rows):
            counts = _draw_counts(rows, weights, sums, rng)
            drawn[place, : columns.number, start:stop] = columns.distances(counts, prepared)
            for extra, (statistic, one) in enumerate(zip(others, known, strict=True), start=columns.number):
                drawn[place, extra, start:stop] = statistic.distances(counts, one)
        progress(stop / replicates)
    return drawn


def _sums_of(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the sums of the weights up to each row, those of window i between i and i + 1, (windows, rows)."""
    windows = len(weights)
    sums = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True) + np.arange(windows)[:, None]
    sums[:, -1] = np.arange(1, windows + 1)
    return np.asarray(sums)


def _draw_counts(
    rows: int, weights: npt.NDArray[np.float64], sums: npt.NDArray[np.float64], rng: np.random.Generator
) -> Counts:
    """Return how often each window of so many rows holds each row, (population rows, windows)."""
    windows, population_rows = weights.shape
    if rows > population_rows // _ROWS_DRAWN_ONE_BY_ONE:
        return np.ascontiguousarray(rng.multinomial(rows, weights).T, dtype=np.float32)
    # one search in the sums of all windows
    wanted = rng.random((windows, rows)) + np.arange(windows)[:, None]
    found = np.searchsorted(sums.ravel(), wanted.ravel(), side="right")
    counted = np.bincount(found, minlength=sums.size).reshape(sums.shape)
    return np.ascontiguousarray(counted.T, dtype=np.float32)


class _NullColumns:
    """Null distributions of the distances of all columns: the rows of a window are counted in each one's cells."""

    def __init__(
        self, methods: Methods, reference: pd.DataFrame, population: pd.DataFrame, rng: np.random.Generator
    ) -> None:
        self.number = len(methods)
        self._columns: list[_NullNumbers | _NullTexts] = [
            (_NullNumbers if method == "wasserstein" else _NullTexts)(reference[name], population[name], rng)
            for name, method in methods.items()
        ]
        self._blocks = [
            self._columns[start : start + _COLUMNS_PER_BLOCK] for start in range(0, self.number, _COLUMNS_PER_BLOCK)
        ]
        self._counters = [_counter_of(block) for block in self._blocks]

    def prepare(self, weights: npt.NDArray[np.float64]) -> list[list[Any]]:
        """Return what each column needs to know of populations given by row weights, (populations, rows)."""
        return [column.prepare(weights) for column in self._columns]

    def distances(self, counts: Counts, prepared: list[list[Any]]) -> npt.NDArray[np.float64]:
        """Return the distances of each window, (columns, windows), from counts (population rows, windows)."""
        found: list[Distances] = []
        for block, counter in zip(self._blocks, self._counters, strict=True):
            counted, start = counter @ counts, 0
            for column in block:
                stop, known = start + len(column.edges), prepared[len(found)]
                found.append(column.distances(counted[start:stop], counts, known))
                start = stop
        return np.array(found).reshape(self.number, counts.shape[1])


def _counter_of(columns: "list[_NullNumbers | _NullTexts]") -> csr_array:
    """Return the matrix, (cells of these columns, population rows), by which counts by row become counts by cell."""
    starts = np.cumsum([0, *(len(column.edges) for column in columns)])
    counted = [column.cells >= 0 for column in columns]
    parts = zip(columns, counted, starts, strict=False)
    cells = np.concatenate([start + column.cells[kept] for column, kept, start in parts])
    rows = np.concatenate([np.flatnonzero(kept) for kept in counted])
    shape = (int(starts[-1]), len(columns[0].cells))
    return csr_array((np.ones(len(cells), dtype=np.float32), (cells, rows)), shape=shape)


class _NullTexts:
    """The distance of a text column, by how often a window has each text."""

    def __init__(self, reference: pd.Series, population: pd.Series, _rng: np.random.Generator) -> None:
        present = population.notna().to_numpy()
        texts = population[present].astype(str)
        self.edges = pd.Index(sorted(set(texts)))
        self.cells = np.full(len(population), -1, dtype=np.intp)
        self.cells[present] = self.edges.get_indexer(pd.Index(texts))
        self._statistic = build_statistic("jensenshannon", reference, pd.Series(self.edges, dtype=object))

    def prepare(self, _weights: npt.NDArray[np.float64]) -> list[Any]:
        """Return nothing: no text is beyond those seen."""
        return []

    def distances(self, counted: Counts, _counts: Counts, _prepared: list[Any]) -> Distances:
        """Return the distance of each window, (windows,), from counts by text (texts, windows)."""
        return self._statistic.distances(counted)


class _NullNumbers:
    """The distance of a number column with smooth tails, by how many rows of a window are in each of a few cells.

    Between two neighbouring edges of cells the distribution functions are taken to part evenly, by the rows of the
    population there. No cell has more than a 128th of the rows or of the area to expect, and a column of so few
    different numbers one for each, so that the area is that of `WassersteinStatistic` to a hundredth.
    """

    def __init__(self, reference: pd.Series, population: pd.Series, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tails = SmoothTails(population.to_numpy(dtype=np.float64))
        values, kept = self._tails.values, np.sort(reference.dropna().to_numpy(dtype=np.float64))
        present = values[~np.isnan(values)]
        support = np.unique(np.concatenate([kept, present]))
        shares = np.searchsorted(np.sort(present), support, side="right") / max(len(present), 1)
        self._area_between(support, shares, column_deviation(kept))
        self._reference_shares = np.searchsorted(kept, self.edges, side="right") / len(kept)
        cells = np.where(np.isnan(values), -1, np.searchsorted(self.edges, values))
        self._outermost = self._tails.count_in(cells[len(population) :])
        self.cells = cells[: len(population)]
        self.cells[self._tails.replaced] = -1

    def _area_between(self, support: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], unit: float) -> None:
        """Choose the edges of the cells, and how much area a gap at each of them stands for, in deviations."""
        # what the area between two samples is expected to be, up to each number: the deviation of a share, times dx
        with np.errstate(over="ignore", invalid="ignore"):
            expected = np.cumsum(np.sqrt(shares * (1 - shares))[:-1] * np.diff(support))
            place = shares + np.append(0.0, expected) / (expected[-1] if len(expected) and expected[-1] > 0 else 1.0)
        last = np.append(np.diff(np.floor(place * _CELLS)) > 0, True)
        if len(support) <= _CELLS:
            last[:] = True
        self.edges = support[last]
        widths = np.diff(support, append=support[-1]) / unit
        upper = np.cumsum(last) - last  # the first edge at or after each number
        lower = np.where(last, upper, upper - 1)
        # before the first edge nothing is in a window or in the reference
        low, high = np.where(lower < 0, 0.0, shares[last][lower]), shares[last][upper]
        part = np.divide(shares - low, high - low, out=np.zeros_like(shares), where=(high > low) & ~last)
        part[lower < 0] = shares[lower < 0] / np.maximum(high[lower < 0], np.finfo(np.float64).tiny)
        sizes = len(self.edges)
        of_lower = np.bincount(
            np.maximum(lower, 0), weights=np.where(lower < 0, 0.0, widths * (1 - part)), minlength=sizes
        )
        areas = of_lower + np.bincount(upper, weights=widths * part, minlength=sizes)
        with np.errstate(over="ignore"):  # numbers too far apart end in a limit that is not finite, which is reported
            self._areas = areas.astype(np.float32)

    def prepare(self, weights: npt.NDArray[np.float64]) -> list[Any]:
        """Return what the tails are like in each of the populations given by row weights."""
        return self._tails.shapes(weights)

    def distances(self, counted: Counts, counts: Counts, prepared: list[Any]) -> Distances:
        """Return the distance of each window, (windows,), from counts by cell (cells, windows) and by row."""
        for cells, drawn in zip(self._outermost, self._tails.draws(counts, prepared, self._rng), strict=True):
            counted[cells] += drawn
        gaps = np.cumsum(counted, axis=0)
        totals = gaps[-1].copy()
        gaps /= np.where(totals > 0, totals, np.nan)
        gaps -= self._reference_shares.astype(gaps.dtype)[:, None]
        np.abs(gaps, out=gaps)
        return np.asarray(self._areas @ gaps, dtype=np.float64)


def _family_limits(distances: npt.NDArray[np.float64], false_alarm_rate: float) -> npt.NDArray[np.float64]:
    """Return one limit per statistic from distances (statistics, replicates) of windows in control."""
    start = np.nanquantile(distances, 1 - TAIL_SHARE, axis=1)
    excesses = distances - start[:, None]
    # a distance that never varies needs no allowance for noise: it is the limit, and the floor decides
    scale = np.array([row[row > 0].mean() if (row > 0).any() else 0.0 for row in excesses])
    rarity = excesses / np.where(scale > 0, scale, np.inf)[:, None]
    # a window without any value of a column (NaN) cannot raise that column's alarm
    largest = np.nan_to_num(rarity, nan=-1.0).max(axis=0)
    return np.asarray(start + tail_quantile(largest, false_alarm_rate, TAIL_SHARE) * scale)
