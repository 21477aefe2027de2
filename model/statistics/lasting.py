"""Changes that last: what one window cannot show, the means of several days must.

The value of a window is a mean over its rows (of a column, of an error, of the share of a class). The means of the days
of a history say how days differ by themselves. The mean of the last k days is compared with that of the history, in
standard errors that follow from the spread of the daily means and from how much a day is like the one before: the
variance of a mean of k days is s²/k (1 + 2 sum_j (1 - j/k) r^j), with r the autocorrelation (e.g. Box, Jenkins and
Reinsel, Time Series Analysis, section 2.1). The mean of the history is uncertain in the same way.

Where values follow the hour, what is usual of the hour is taken off first: then the hours of a day of which some are
missing, as after an outage, are compared with the same hours of other days.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from math import log, sqrt
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import f as f_distribution
from scipy.stats import gamma
from scipy.stats import t as student

from model.artifact.manifest import LABEL, PREDICTION
from model.artifact.traffic import DAY_SECONDS, LASTING_DAYS, LEVELS, TrafficLevel
from model.statistics.windows import Numbers, local_seconds

SPANS = (1, 2, 4, 7, 14, LASTING_DAYS)
"""Days that are looked at together. Whole weeks among them leave out what weekdays do."""
MIN_BLOCKS = 8
"""Fewest days (weeks, for windows of a week) that say anything about how days differ."""
MAX_AUTOCORRELATION = 0.9

HOURS, HOUR_SECONDS = 24, 3600
_TURNS = 4
_HOURS_BY_CHANCE = 0.001
_LOOKS = 4.0  # how often a moving mean of k days is as good as new in k days: it is looked at with every window
_TAIL_SHARE = 1 / 3
_STILL = 0.5  # of its threshold: as far out the newest quarter of a span has to be, or it is over

Key = tuple[str, str | None]
"""A value's name and its column."""


class Gathered(NamedTuple):
    """Sums over the windows of each block of time, the newest first, (blocks,): of rows, and of rows times value."""

    rows: Numbers
    totals: Numbers


class LastingChange(NamedTuple):
    """The mean of the last days is beyond its threshold."""

    name: str
    column: str | None
    value: float
    threshold: float
    days: int

    @property
    def check(self) -> str:
        """Return the check that fails."""
        return LEVELS[self.name]

    @property
    def about(self) -> str | None:
        """Return the column that it is about, as other failures of the check name it."""
        return {"mean": self.column, "prediction_drift": PREDICTION, "target_drift": LABEL}.get(
            self.name if self.name == "mean" else self.check
        )

    @property
    def measure(self) -> str:
        """Return what was measured, such as "mean of 7 days"."""
        of = {"mean": "", "prediction_mean": "", "label_mean": "", "mean_absolute_error": "absolute error, "}
        of |= {"prediction_share": f"share of {self.column}, ", "label_share": f"share of {self.column}, "}
        named = of.get(self.name, f"{self.name.removeprefix('concept_').replace('_', ' ')}, ")
        return f"{named}mean of {self.days} days" if self.days > 1 else f"{named}mean of a day"


def block_seconds(interval_seconds: float) -> int:
    """Return the length of the blocks of time that are units of chance: a day, or the window where it is longer."""
    return max(DAY_SECONDS, round(interval_seconds))


def blocks_looked_at(interval_seconds: float) -> int:
    """Return how many blocks are gathered: those of the longest span, and one that may be known in part."""
    return max(1, LASTING_DAYS * DAY_SECONDS // block_seconds(interval_seconds)) + 1


@dataclass(frozen=True)
class LevelStatistic:
    """One value of many windows, (windows,), NaN where a window does not have it, and the rows that it is a mean of."""

    name: str
    column: str | None
    values: Numbers
    rows: Numbers
    smallest_effect: float
    direction: Literal["both", "above", "below"] = "both"


def fit_levels(
    statistics: Sequence[LevelStatistic],
    starts: npt.NDArray[np.int64],
    interval_seconds: int,
    false_alerts_a_month: float,
    zone: tzinfo = UTC,
) -> list[TrafficLevel]:
    """Return the level of each statistic; none for one with too little history.

    `starts` (windows,) are seconds since the epoch; days and hours are those of the clock in `zone`. Together the
    levels raise about `false_alerts_a_month` while days go on differing as they did: the chance is divided evenly over
    the statistics and over the looks of a month, and Student's t with as many degrees of freedom as the history has
    days (fewer where they are alike) turns it into standard errors. It does not know seasons that are longer than the
    history.
    """
    clock = local_seconds(starts, zone)
    blocks, hours = clock // block_seconds(interval_seconds), _hours_of(clock)
    histories = [(one, found) for one in statistics if (found := _history(one, blocks, hours, interval_seconds))]
    days = block_seconds(interval_seconds) / DAY_SECONDS
    looks = _LOOKS * sum(30 / days / span for span in SPANS if span * days <= LASTING_DAYS)
    rate = false_alerts_a_month / looks / max(1, len(histories))
    return [_level(statistic, history, interval_seconds, rate) for statistic, history in histories]


class _History(NamedTuple):
    """The mean of each block of the history, its number and its rows, (blocks,); what each hour adds to its day."""

    means: Numbers
    numbers: npt.NDArray[np.int64]
    rows: Numbers
    hours: Numbers


def _history(
    statistic: LevelStatistic, blocks: npt.NDArray[np.int64], hours: npt.NDArray[np.int64], interval_seconds: int
) -> _History | None:
    known = np.isfinite(statistic.values) & (statistic.rows > 0)
    numbers, days = np.unique(blocks[known], return_inverse=True)
    if len(numbers) < MIN_BLOCKS:
        return None
    rows, values = np.asarray(statistic.rows[known], dtype=np.float64), statistic.values[known]
    found = np.zeros(0)
    if interval_seconds < DAY_SECONDS:
        found = _usual_hours(values, rows, days, hours[known])
        values = values - found[hours[known]] if len(found) else values
    return _History(_means_by(days, values, rows), numbers, np.bincount(days, rows).astype(np.float64), found)


def _usual_hours(values: Numbers, rows: Numbers, days: npt.NDArray[np.intp], hours: npt.NDArray[np.int64]) -> Numbers:
    """Return what each hour adds to the mean of its day, (24,); none where hours differ no more than by chance.

    Days and hours are fitted in turns, as a day may lack some hours. The test is that of a two-way analysis of
    variance (F). An hour without a window is between its neighbours.
    """
    of_hour = np.bincount(hours, rows, HOURS)
    seen = np.flatnonzero(of_hour)
    freedom = len(values) - len(seen) - days.max()
    if len(seen) < 2 or freedom < 1:
        return np.zeros(0)
    effects = np.zeros(HOURS)
    for _ in range(_TURNS):
        means = _means_by(days, values - effects[hours], rows)
        effects[seen] = _means_by(hours, values - means[days], rows)[seen]
        effects[seen] -= (of_hour * effects).sum() / of_hour.sum()
    left = (rows * (values - means[days] - effects[hours]) ** 2).sum() / freedom
    by_hours = (of_hour * effects**2).sum() / (len(seen) - 1)
    if by_hours <= left * f_distribution.isf(_HOURS_BY_CHANCE, len(seen) - 1, freedom):
        return np.zeros(0)
    return np.interp(np.arange(HOURS), seen, effects[seen], period=HOURS)


def _means_by(places: npt.NDArray[np.int64], values: Numbers, rows: Numbers) -> Numbers:
    with np.errstate(invalid="ignore"):  # a place without rows has no mean
        return np.asarray(np.bincount(places, rows * values) / np.bincount(places, rows))


def _hours_of(clock: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return clock % DAY_SECONDS // HOUR_SECONDS


def without_hours(
    levels: Sequence[TrafficLevel],
    values: Mapping[Key, Numbers],
    starts: npt.NDArray[np.int64],
    zone: tzinfo,
) -> dict[Key, Numbers]:
    """Return the values of windows, (windows,), without what is usual of their hours."""
    usual = {(level.name, level.column): np.array(level.hours) for level in levels if level.hours}
    hours = _hours_of(local_seconds(starts, zone)) if usual else starts
    return {key: found - usual[key][hours] if key in usual else found for key, found in values.items()}


def _level(statistic: LevelStatistic, history: _History, interval_seconds: int, rate: float) -> TrafficLevel:
    chance = min(rate / 2 if statistic.direction == "both" else rate, 0.25)
    mean, autocorrelation = float(history.means.mean()), _autocorrelation(history.means, history.numbers)
    # of a variance from days that are alike, e.g. Bayley and Hammersley 1946, JRSS Supplement 8(2)
    freedom = (len(history.means) - 1) * (1 - autocorrelation**2) / (1 + autocorrelation**2)
    return TrafficLevel(
        name=statistic.name,
        column=statistic.column,
        direction=statistic.direction,
        interval_seconds=interval_seconds,
        mean=mean,
        deviation=float(history.means.std(ddof=1)),
        autocorrelation=autocorrelation,
        blocks=len(history.means),
        rows=float(history.rows.mean()),
        smallest_effect=statistic.smallest_effect,
        critical=float(student.isf(chance, max(2.0, freedom))),
        chance=chance,
        tail=_tail(history.means - mean, chance),
        hours=tuple(float(f"{one:.4g}") for one in history.hours),
    )


def _tail(excesses: Numbers, chance: float) -> float:
    """Return how far from the mean a day is with this chance, by an exponential tail, and no less than was seen.

    What days do is not normal: it seldom rains, and then it pours.
    """
    ordered = np.sort(np.abs(excesses))
    size = max(1, round(len(ordered) * _TAIL_SHARE))
    start = ordered[-size - 1]
    tail = start + (ordered[-size:] - start).mean() * np.log(_TAIL_SHARE / chance)
    return max(float(tail), float(ordered[-1]))


def _autocorrelation(means: Numbers, numbers: npt.NDArray[np.int64]) -> float:
    """Return the correlation of neighbouring blocks, corrected for the bias of an estimate from few of them.

    Source of the bias, -(1 + 3r)/n: Kendall 1954, Biometrika 41(3/4).
    """
    follows = np.flatnonzero(np.diff(numbers) == 1)
    excess = means - means.mean()
    variance = float((excess**2).mean())
    if len(follows) < 3 or variance <= 0:
        return 0.0
    found = float((excess[follows] * excess[follows + 1]).mean()) / variance
    return float(np.clip(found + (1 + 3 * found) / len(follows), 0.0, MAX_AUTOCORRELATION))


def variance_factor(days: int, autocorrelation: float) -> float:
    """Return the variance of the mean of so many days in a row, as a multiple of that of one day."""
    lags = np.arange(1, days)
    return float((1 + 2 * ((1 - lags / days) * autocorrelation**lags).sum()) / days)


def lasting_changes(
    levels: Sequence[TrafficLevel], gathered: Mapping[Key, Gathered], interval_seconds: float
) -> list[LastingChange]:
    """Return the values whose mean over the last days is beyond what days do: of each, the shortest stretch of days.

    `gathered` has the sums of the last blocks of time, which end with the newest window. Blocks without rows are left
    out. The oldest that is known may be known in part, so it is not looked at where blocks are longer than windows.
    The newest quarter of a stretch must still be half as far out: what is over is no news.
    """
    block = block_seconds(interval_seconds)
    changes = (
        _change(level, gathered[level.name, level.column], block, whole=interval_seconds >= block)
        for level in levels
        if (level.name, level.column) in gathered
    )
    return [change for change in changes if change is not None]


@lru_cache(maxsize=4096)
def _skewed_share(chance: float, days: float) -> float:
    """Return how far off the mean of so many days is with this chance, as a share of how far one of them is.

    This is for days as skewed as an exponential distribution, whose sums follow a Gamma distribution. For a normal one
    the standard error is the larger bound.
    """
    one = -log(chance) - 1
    return max(1 / days, float(gamma.isf(chance, days) - days) / days / one) if one > 1 else 1.0


def _change(level: TrafficLevel, gathered: Gathered, block: int, *, whole: bool) -> LastingChange | None:
    kept = np.flatnonzero(gathered.rows > 0)
    kept = kept if whole else kept[:-1]
    for span in SPANS:
        if span > len(kept) or span * block > LASTING_DAYS * DAY_SECONDS:
            return None
        value, rows = _mean(gathered, kept[:span])
        fewer = max(1.0, level.rows / (rows / span))  # fewer rows than in the history: chance is larger
        variance = variance_factor(span, level.autocorrelation) * fewer
        error = level.deviation * sqrt(variance + variance_factor(level.blocks, level.autocorrelation))
        skewed = level.tail * _skewed_share(level.chance, 1 / variance_factor(span, level.autocorrelation))
        margin = max(level.smallest_effect, level.critical * error, skewed * sqrt(fewer))
        side = 1.0 if value > level.mean else -1.0
        recent, _ = _mean(gathered, kept[: max(1, round(span / 4))])
        wanted = level.direction == "both" or (level.direction == "above") == (side > 0)
        if wanted and side * (value - level.mean) > margin and side * (recent - level.mean) > _STILL * margin:
            days = span * block // DAY_SECONDS
            return LastingChange(level.name, level.column, value, level.mean + side * margin, days)
    return None


def _mean(gathered: Gathered, blocks: npt.NDArray[np.intp]) -> tuple[float, float]:
    rows = float(gathered.rows[blocks].sum())
    return float(gathered.totals[blocks].sum()) / rows, rows


def gatherer(
    values: Mapping[Key, Numbers], rows: Mapping[Key, Numbers], starts: npt.NDArray[np.int64], interval_seconds: float
) -> Callable[[int], dict[Key, Gathered]]:
    """Return what gives the sums of windows up to the one that starts at a moment, in seconds since the epoch.

    `values`, those of `without_hours`, and `rows` are (windows,) each, in the order of `starts`; a value that a window
    does not have is NaN.
    """
    block, count = block_seconds(interval_seconds), blocks_looked_at(interval_seconds)
    cumulated = {}
    for key, found in values.items():
        known = np.where(np.isfinite(found), rows[key], 0.0)
        totals = np.where(known > 0, found, 0.0) * known
        cumulated[key] = [np.concatenate([[0.0], np.cumsum(one)]) for one in (known, totals)]

    def gathered(newest: int) -> dict[Key, Gathered]:
        edges = np.searchsorted(starts, newest - block * np.arange(count + 1), side="right")
        return {key: Gathered(*(one[edges[:-1]] - one[edges[1:]] for one in sums)) for key, sums in cumulated.items()}

    return gathered


def with_newest(
    past: Mapping[Key, Gathered], newest: Mapping[Key, tuple[float, int]], interval_seconds: float
) -> dict[Key, Gathered]:
    """Return the sums of the windows before the newest one and of itself, given by its values and their rows.

    The values are those of `without_hours`. One that the newest window does not have is not among them.
    """
    empty = np.zeros(blocks_looked_at(interval_seconds))
    first = np.arange(len(empty)) == 0
    found = {}
    for key, (value, rows) in newest.items():
        before = past.get(key, Gathered(empty, empty))
        found[key] = Gathered(before.rows + first * rows, before.totals + first * rows * value)
    return found
