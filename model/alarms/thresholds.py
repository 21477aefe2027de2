"""Thresholds of drift alarms: how far an unchanged window may lie from the reference by chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.alarms.policy import AlarmPolicy
from model.alarms.tails import SmoothTails, tail_quantile
from model.artifact.manifest import DriftMethod, DriftThreshold
from model.errors import DataError
from model.statistics.drift import Distances, build_statistic
from model.statistics.windows import Counts

WINDOW_ROWS = (10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
FLOORS: Mapping[DriftMethod, float] = AlarmPolicy().drift_floors
FALSE_ALARM_RATE = AlarmPolicy().false_alarm_rate
REPLICATES = 4_000

TAIL_SHARE = 0.05
_CELLS_PER_CHUNK = 150_000  # rows x windows in one array: 600 kB of float32, so that it stays in a core's cache

Methods = Mapping[str, DriftMethod]


@dataclass(frozen=True)
class Limits:
    """Calibrated thresholds of a family: those of the columns, and one tuple for each other statistic."""

    columns: tuple[DriftThreshold, ...]
    others: tuple[tuple[float, ...], ...]


class NullDistribution(Protocol):
    """What draws one statistic for windows in which nothing has changed."""

    def prepare(self, weights: npt.NDArray[np.float64]) -> list[npt.NDArray[Any]]:
        """Return what it needs to know of populations given by row weights, (populations, rows)."""

    def distances(self, counts: Counts, prepared: list[npt.NDArray[Any]]) -> Distances:
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
    replicates: int = REPLICATES,
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
    columns = [_NullColumn(method, reference[name], population[name], rng) for name, method in methods.items()]
    statistics = [*columns, *others]
    with np.errstate(over="ignore", invalid="ignore"):  # a limit that is not finite is reported below
        drawn = _draw_null_windows(statistics, len(population), window_rows, replicates, rng, progress=progress)
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
        for (column, method), limit in zip(methods.items(), limits[: len(columns)], strict=True)
    )
    return Limits(thresholds, tuple(tuple(limit) for limit in limits[len(columns) :]))


def _draw_null_windows(
    statistics: Sequence[NullDistribution],
    population_rows: int,
    window_rows: Sequence[int],
    replicates: int,
    rng: np.random.Generator,
    *,
    progress: Callable[[float], None],
) -> npt.NDArray[np.float64]:
    """Return the statistics of windows in control, (window sizes, statistics, replicates)."""
    drawn = np.empty((len(window_rows), len(statistics), replicates))
    chunk = max(1, _CELLS_PER_CHUNK // population_rows)
    for start in range(0, replicates, chunk):
        stop = min(start + chunk, replicates)
        weights = rng.dirichlet(np.ones(population_rows), size=stop - start)
        prepared = [statistic.prepare(weights) for statistic in statistics]
        for place, rows in enumerate(window_rows):
            counts = np.ascontiguousarray(rng.multinomial(rows, weights).T, dtype=np.float32)
            drawn[place, :, start:stop] = [
                statistic.distances(counts, known) for statistic, known in zip(statistics, prepared, strict=True)
            ]
        progress(stop / replicates)
    return drawn


class _NullColumn:
    """Null distribution of one column's distance."""

    def __init__(
        self, method: DriftMethod, reference: pd.Series, population: pd.Series, rng: np.random.Generator
    ) -> None:
        self._tails: SmoothTails | None = None
        if method == "wasserstein":
            self._tails = SmoothTails(population.to_numpy(dtype=np.float64))
            population = pd.Series(self._tails.values)
        self._statistic = build_statistic(method, reference, population)
        self._rng = rng

    def prepare(self, weights: npt.NDArray[np.float64]) -> list[npt.NDArray[Any]]:
        """Return what the tails are like in each of the populations given by row weights."""
        return self._tails.shares(weights) if self._tails else []

    def distances(self, counts: Counts, prepared: list[npt.NDArray[Any]]) -> Distances:
        """Return the distance of each window from counts (population rows, windows)."""
        if self._tails:
            counts = self._tails.counts_with_tails(counts, prepared, self._rng)
        return self._statistic.distances(counts)


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
