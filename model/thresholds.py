"""Calibration of drift alarms: how far a quiet window may lie from the reference by luck alone."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.drift_statistics import Counts, Distances, DriftStatistic, JensenShannonStatistic, WassersteinStatistic
from model.manifest import DriftMethod, DriftThreshold
from model.tails import SmoothTails, tail_quantile

WINDOW_ROWS = (10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
FLOORS: Mapping[DriftMethod, float] = {"wasserstein": 0.1, "jensenshannon": 0.1}
FALSE_ALARM_RATE = 0.001
REPLICATES = 4_000

TAIL_SHARE = 0.05
_CELLS_PER_CHUNK = 150_000  # rows x windows in one array: 600 kB of float32, so that it stays in a core's cache

Methods = Mapping[str, DriftMethod]


def calibrate_thresholds(
    reference: pd.DataFrame,
    population: pd.DataFrame,
    methods: Methods,
    rng: np.random.Generator,
    *,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    window_rows: Sequence[int] = WINDOW_ROWS,
    replicates: int = REPLICATES,
    floors: Mapping[DriftMethod, float] = FLOORS,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[DriftThreshold, ...]:
    """Return thresholds such that a quiet window raises any alarm with probability `false_alarm_rate`.

    `reference` are the fixed rows that windows are compared with, `population` all rows known at training time, both
    with the columns of `methods`. A quiet window of m rows is drawn as its future would be, given these rows: first a
    population (the rows with weights from a flat Dirichlet distribution: the Bayesian bootstrap, Rubin 1981, The Annals
    of Statistics 9(1); with tails that reach beyond the sample, see `SmoothTails`), then m rows of it. The first draw
    stands for the luck of the finite training data: it keeps the thresholds of large windows from sinking to zero.

    The alarms of a window are one family, as in the single-step methods of Westfall and Young (1993, Resampling-Based
    Multiple Testing): each distance is expressed as its excess over its own 95 % quantile in units of its mean excess,
    so that in the tail, which alone matters, columns with skewed and with even luck get the same share of the false
    alarms. The largest is taken per window, and its (1 - rate) quantile, found by `tail_quantile`, is turned back into
    a threshold for each column.

    `progress` is called with the share of the work done.
    """
    columns = [_QuietColumn(method, reference[name], population[name], rng) for name, method in methods.items()]
    drawn = np.empty((len(window_rows), len(columns), replicates))
    chunk = max(1, _CELLS_PER_CHUNK // len(population))
    for start in range(0, replicates, chunk):
        stop = min(start + chunk, replicates)
        weights = rng.dirichlet(np.ones(len(population)), size=stop - start)
        tails = [column.tail_shares(weights) for column in columns]
        for place, rows in enumerate(window_rows):
            counts = np.ascontiguousarray(rng.multinomial(rows, weights).T, dtype=np.float32)
            drawn[place, :, start:stop] = [
                column.distances(counts, shares) for column, shares in zip(columns, tails, strict=True)
            ]
        progress(stop / replicates)
    limits = np.array([_family_limits(distances, false_alarm_rate) for distances in drawn])
    return tuple(
        DriftThreshold(
            column=column,
            method=method,
            window_rows=tuple(window_rows),
            thresholds=tuple(float(limit) for limit in limits[:, place]),
            floor=floors[method],
        )
        for place, (column, method) in enumerate(methods.items())
    )


def build_statistic(method: DriftMethod, reference: pd.Series, population: pd.Series) -> DriftStatistic:
    """Return the statistic of one column for windows made of the population's rows."""
    if method == "wasserstein":
        return WassersteinStatistic(reference, population)
    return JensenShannonStatistic(reference, population)


class _QuietColumn:
    """Draws of one column's distance in quiet windows."""

    def __init__(
        self, method: DriftMethod, reference: pd.Series, population: pd.Series, rng: np.random.Generator
    ) -> None:
        self._tails: SmoothTails | None = None
        if method == "wasserstein":
            self._tails = SmoothTails(population.to_numpy(dtype=np.float64))
            population = pd.Series(self._tails.values)
        self._statistic = build_statistic(method, reference, population)
        self._rng = rng

    def tail_shares(self, weights: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
        """Return what the tails are like in each of the populations given by row weights."""
        return self._tails.shares(weights) if self._tails else []

    def distances(self, counts: Counts, tail_shares: list[npt.NDArray[np.float64]]) -> Distances:
        """Return the distance of each window from counts (population rows, windows)."""
        if self._tails:
            counts = self._tails.spread(counts, tail_shares, self._rng)
        return self._statistic.distances(counts)


def _family_limits(distances: npt.NDArray[np.float64], false_alarm_rate: float) -> npt.NDArray[np.float64]:
    """Return one limit per statistic from distances (statistics, replicates) of quiet windows."""
    start = np.nanquantile(distances, 1 - TAIL_SHARE, axis=1)
    excesses = distances - start[:, None]
    # a column whose distance never varies has no luck to allow for: its limit is that distance, and the floor decides
    scale = np.array([row[row > 0].mean() if (row > 0).any() else 0.0 for row in excesses])
    standardised = excesses / np.where(scale > 0, scale, np.inf)[:, None]
    # a window without any value of a column (NaN) cannot raise that column's alarm
    largest = np.nan_to_num(standardised, nan=-1.0).max(axis=0)
    return np.asarray(start + tail_quantile(largest, false_alarm_rate, TAIL_SHARE) * scale)
