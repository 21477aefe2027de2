"""Calibration of drift alarms: how far a quiet window may lie from the reference by luck alone."""

from collections.abc import Callable, Mapping, Sequence
from math import log

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.drift_statistics import DriftStatistic, JensenShannonStatistic, WassersteinStatistic
from model.manifest import DriftMethod, DriftThreshold

WINDOW_ROWS = (10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
FLOORS: Mapping[DriftMethod, float] = {"wasserstein": 0.1, "jensenshannon": 0.1}
FALSE_ALARM_RATE = 0.001
REPLICATES = 4_000

_TAIL_SHARE = 0.05
_CELLS_PER_CHUNK = 500_000  # rows x windows in one array: 2 MB of float32, near the size of a core's cache

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

    `reference` are the fixed rows that windows are compared with, `population` all rows known at training
    time, both with the columns of `methods`. A quiet window of m rows is drawn as its future would be,
    given these rows: first a population (the rows with weights from a flat Dirichlet distribution: the
    Bayesian bootstrap, Rubin 1981, The Annals of Statistics 9(1)), then m rows of it with replacement. The
    first draw stands for the luck of the finite training data: it keeps the thresholds of large windows
    from sinking to zero.

    The alarms of a window are one family: each distance is standardised by its mean and standard deviation
    over the drawn windows, the largest of them is taken per window (the max-T method of Westfall and Young
    1993, Resampling-Based Multiple Testing), and its (1 - rate) quantile q gives every threshold as mean +
    q * sd. The quantile is `tail_quantile`'s.

    `progress` is called with the share of the work done.
    """
    statistics = {
        column: build_statistic(method, reference[column], population[column])
        for column, method in methods.items()
    }
    drawn = np.empty((len(window_rows), len(statistics), replicates))
    chunk = max(1, _CELLS_PER_CHUNK // len(population))
    for start in range(0, replicates, chunk):
        stop = min(start + chunk, replicates)
        weights = rng.dirichlet(np.ones(len(population)), size=stop - start)
        for place, rows in enumerate(window_rows):
            counts = np.ascontiguousarray(rng.multinomial(rows, weights).T, dtype=np.float32)
            drawn[place, :, start:stop] = [statistic.distances(counts) for statistic in statistics.values()]
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


def tail_quantile(values: npt.NDArray[np.float64], upper_share: float) -> float:
    """Return the value that is exceeded with probability `upper_share`, also where the sample hardly reaches.

    Above its 95 % quantile u the tail is taken as exponential: u + (mean excess over u) * ln(0.05 / share).
    This is the peaks-over-threshold method (Pickands 1975, The Annals of Statistics 3(1)) with the
    generalized Pareto distribution's shape held at 0. Distances of counts have tails of that weight or
    lighter, so the estimate errs to the quiet side, and it varies much less than one with a fitted shape.
    """
    start = float(np.quantile(values, 1 - _TAIL_SHARE))
    if upper_share >= _TAIL_SHARE:
        return float(np.quantile(values, 1 - upper_share))
    excess = values[values > start] - start
    return start + (float(excess.mean()) if len(excess) else 0.0) * log(_TAIL_SHARE / upper_share)


def _family_limits(distances: npt.NDArray[np.float64], false_alarm_rate: float) -> npt.NDArray[np.float64]:
    """Return one limit per statistic from distances (statistics, replicates) of quiet windows."""
    mean = np.nanmean(distances, axis=1)
    deviation = np.nanstd(distances, axis=1)
    # a column that never varies has no luck to allow for; its limit is its mean, and the floor decides
    scale = np.where(deviation > 0, deviation, np.inf)
    standardised = (distances - mean[:, None]) / scale[:, None]
    largest = np.nanmax(standardised, axis=0)
    return np.asarray(mean + tail_quantile(largest, false_alarm_rate) * deviation)
