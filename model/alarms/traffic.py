"""Thresholds from windows cut in time: what a statistic usually is at this hour, and how far it strays by itself.

Real traffic has hours, weekdays, weather and days that differ, so windows of it are not draws from one bag of rows.
The unit of chance is the day. For each statistic and each length of window:

1. the usual value follows the hour (or the hour of the week, where that explains more and there are weeks enough);
2. what is left is looked at day by day: the largest excess of each day, over the days of the history;
3. the thresholds are the usual values plus excesses so large that few days exceed any of them, found by an exponential
   tail (peaks over threshold: Davison and Smith 1990, Journal of the Royal Statistical Society B 52(3)).

Distances, shares and absolute errors are compared as logarithms of themselves and the smallest effect: they vary the
more the larger they are, and their tails are long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.alarms.effects import UNSEEN_SHARES, SmallestEffects, Statistic, smallest_effects
from model.alarms.policy import FAILED_DAY_IN_DAYS, AlarmPolicy
from model.alarms.window_segments import segment_histories
from model.alarms.window_values import Model, Name, Windows, measure_windows, unseen_share_of
from model.artifact.manifest import Feature
from model.artifact.traffic import DAY_SECONDS, TrafficAlarms, TrafficLevel, TrafficThreshold
from model.data.dataset import RowTimes
from model.data.encoding import encoding_of
from model.data.time_column import zone_of
from model.statistics.lasting import fit_levels
from model.statistics.windows import local_seconds

Numbers = npt.NDArray[np.float64]
Cycle = Literal["none", "hour", "hour_of_week"]

WEEK_SECONDS = 7 * DAY_SECONDS
LENGTHS_SECONDS = (60, 300, 900, 3_600, 21_600, DAY_SECONDS, WEEK_SECONDS)
"""The lengths of window that are calibrated, where the history has enough windows of them."""
MIN_BLOCKS = 8
"""Fewest days (weeks, for windows of a week) that say anything about how days differ."""
MIN_WEEKS = 4
"""Fewest weeks from which the hour of the week is told apart from the hour."""

_TAIL_SHARE = 0.34  # of the blocks: those whose excesses make the tail
_MIN_TAIL = 8  # blocks in the tail, whatever the share
_SHRINKAGE = 2.0  # windows' worth of the mean over all hours in that of each hour
_SMALLEST_EXCESS = 1e-9  # of a statistic that never varies
_ROUNDING = 1e-5  # what varies by no more only differs in the last digits of its sums
_UNSEEN_BUDGET = (
    0.1  # of the rate, for shares of values that training has not seen: no threshold is below the worst seen
)
_WORTH = 0.95  # a finer cycle is taken where it leaves less than this share of the variance,
_CLEARLY = 3.0  # and gains more than so many standard errors of its daily gains


@dataclass(frozen=True)
class _Fitted:
    """One statistic on the history: its usual values, where its tail begins, how long it is, and the worst value."""

    statistic: Statistic
    cycle: Cycle
    usual: Numbers
    seen: npt.NDArray[np.bool_]
    maxima: Numbers
    tail_start: float
    mean_excess: float
    windows: int
    worst: float


def fit_traffic_thresholds(
    statistics: Sequence[Statistic],
    starts: npt.NDArray[np.int64],
    interval_seconds: int,
    rate: float,
    zone: tzinfo = UTC,
    *,
    block_seconds: int = DAY_SECONDS,
) -> list[TrafficThreshold]:
    """Return the thresholds of statistics for windows of one length; none for one with too little history.

    `starts` (windows,) are seconds since the epoch; NaN values are windows that did not compute the statistic. Hours,
    weekdays and days are those of the clock in `zone`: traffic moves with it when it is set to summer time. `rate` is
    the chance that a day without a change has a window beyond any threshold (a week, for windows of a week; a block of
    `block_seconds`, where a history has too few days).
    The statistics are one family, as in `calibrate_thresholds`: each day's excess is expressed in units of the
    statistic's own mean excess in the tail, the largest of a day is taken, and its (1 - rate) quantile is turned back.
    So a storm that moves ten columns at once counts once, and little has to be extrapolated. The shares of values that
    training has not seen are a family of their own, with a tenth of the rate: on most days no value is one and on a few
    days all are, so in such units they lie further out than anything, and would set the thresholds of all others.
    """
    starts = local_seconds(starts, zone)
    blocks, block_of_window = np.unique(starts // max(interval_seconds, block_seconds), return_inverse=True)
    found = [_fit(one, starts, block_of_window, len(blocks), interval_seconds) for one in statistics]
    fitted = [one for one in found if one is not None]
    unseen = [one for one in fitted if one.statistic.name in UNSEEN_SHARES]
    others = [one for one in fitted if one.statistic.name not in UNSEEN_SHARES]
    if not unseen or not others:
        return _family(fitted, interval_seconds, rate) if fitted else []
    of_unseen = _family(unseen, interval_seconds, _UNSEEN_BUDGET * rate)
    return _family(others, interval_seconds, (1 - _UNSEEN_BUDGET) * rate) + of_unseen


def _family(fitted: Sequence[_Fitted], interval_seconds: int, rate: float) -> list[TrafficThreshold]:
    varying = [one for one in fitted if one.mean_excess > _ROUNDING] or fitted
    largest = np.max([(one.maxima - one.tail_start) / one.mean_excess for one in varying], axis=0)
    rarity = max(0.0, _tail_quantile(largest[np.isfinite(largest)], rate))
    return [_threshold(one, one.tail_start + rarity * one.mean_excess, interval_seconds) for one in fitted]


def _fit(
    statistic: Statistic,
    starts: npt.NDArray[np.int64],
    block_of_window: npt.NDArray[np.int64],
    blocks: int,
    interval_seconds: int,
) -> _Fitted | None:
    known = np.isfinite(statistic.values)
    starts, values = starts[known], _scaled(statistic, statistic.values[known])
    if len(np.unique(block_of_window[known])) < MIN_BLOCKS:
        return None
    cycle = _cycle(starts, values, interval_seconds)
    bins = cycle_bins(starts, cycle)
    usual = _usual(values, bins, cycle)
    maxima = np.full(blocks, -np.inf)
    np.maximum.at(maxima, block_of_window[known], _held_out_excesses(values, bins, usual))
    start, mean_excess = _tail(maxima[np.isfinite(maxima)])
    seen = np.bincount(bins, minlength=_BINS[cycle]) > 0
    worst = float(np.nanmax(statistic.values) if statistic.above else np.nanmin(statistic.values))
    return _Fitted(statistic, cycle, usual, seen, maxima, start, max(mean_excess, _SMALLEST_EXCESS), len(values), worst)


def _threshold(fitted: _Fitted, margin: float, interval_seconds: int) -> TrafficThreshold:
    statistic = fitted.statistic
    return TrafficThreshold(
        name=statistic.name,
        column=statistic.column,
        above=statistic.above,
        interval_seconds=interval_seconds,
        cycle=fitted.cycle,
        usual=tuple(_unscaled(statistic, fitted.usual).tolist()),
        thresholds=tuple(_thresholds(fitted, margin).tolist()),
        blocks=int(np.isfinite(fitted.maxima).sum()),
        windows=fitted.windows,
    )


def cycle_bins(starts: npt.NDArray[np.int64], cycle: Cycle) -> npt.NDArray[np.int64]:
    """Return the place of each window in the cycle, from its local seconds; weeks begin on Monday."""
    if cycle == "none":
        return np.zeros(len(starts), dtype=np.int64)
    if cycle == "hour":
        return starts % DAY_SECONDS // 3_600
    monday = 4 * DAY_SECONDS  # 1970-01-05, the first Monday of the epoch
    return (starts - monday) % WEEK_SECONDS // 3_600


_BINS: dict[Cycle, int] = {"none": 1, "hour": 24, "hour_of_week": 168}


def _cycle(starts: npt.NDArray[np.int64], values: Numbers, interval_seconds: int) -> Cycle:
    """Return the coarsest cycle that no finer one improves on.

    A finer one does where it leaves clearly less variance, and does so from day to day: the mean of the daily
    improvements is above 0 by several of its standard errors. Each window is held out of its own usual value.
    """
    chosen: Cycle = "none"
    if np.ptp(values) <= _ROUNDING:
        return chosen
    finer: Sequence[Cycle] = () if interval_seconds >= WEEK_SECONDS else ("hour", "hour_of_week")
    _, days = np.unique(starts // DAY_SECONDS, return_inverse=True)
    left = _daily_variance(starts, values, chosen, days)
    weeks = (starts.max() - starts.min()) / WEEK_SECONDS
    for cycle in finer:
        if (cycle == "hour" and interval_seconds >= DAY_SECONDS) or (cycle == "hour_of_week" and weeks < MIN_WEEKS):
            continue
        variance = _daily_variance(starts, values, cycle, days)
        gained = left - variance
        error = gained.std(ddof=1) / np.sqrt(len(gained))
        if gained.mean() > (1 - _WORTH) * left.mean() and gained.mean() > _CLEARLY * error:
            chosen, left = cycle, variance
    return chosen


def _daily_variance(
    starts: npt.NDArray[np.int64], values: Numbers, cycle: Cycle, days: npt.NDArray[np.int64]
) -> Numbers:
    bins = cycle_bins(starts, cycle)
    squared = _held_out_excesses(values, bins, _usual(values, bins, cycle)) ** 2
    return np.asarray(np.bincount(days, squared) / np.bincount(days))


def _usual(values: Numbers, bins: npt.NDArray[np.int64], cycle: Cycle) -> Numbers:
    """Return the mean of each place in the cycle, drawn a little to the mean of all."""
    count = np.bincount(bins, minlength=_BINS[cycle])
    total = np.bincount(bins, values, minlength=_BINS[cycle])
    return np.asarray((total + _SHRINKAGE * values.mean()) / (count + _SHRINKAGE))


def _held_out_excesses(values: Numbers, bins: npt.NDArray[np.int64], usual: Numbers) -> Numbers:
    """Return each window's distance from the usual value that the others give."""
    weight = np.bincount(bins, minlength=len(usual))[bins] + _SHRINKAGE
    return np.asarray((values - usual[bins]) * weight / (weight - 1))


def _tail(maxima: Numbers) -> tuple[float, float]:
    """Return where the tail of the blocks' maxima begins, and the mean excess beyond it."""
    ordered = np.sort(maxima)
    size = _tail_size(len(ordered))
    start = ordered[-size - 1]
    return float(start), float((ordered[-size:] - start).mean())


def _tail_size(blocks: int) -> int:
    return min(blocks - 1, max(_MIN_TAIL - 1, int(blocks * _TAIL_SHARE)))


def _tail_quantile(maxima: Numbers, rate: float) -> float:
    """Return what a block exceeds with chance `rate`, by an exponential tail."""
    start, mean_excess = _tail(maxima)
    return start + mean_excess * max(0.0, float(np.log(_tail_size(len(maxima)) / len(maxima) / rate)))


def _thresholds(fitted: _Fitted, margin: float) -> Numbers:
    """Return the threshold of each place in the cycle; one that the history never had allows as much as any other."""
    statistic, usual = fitted.statistic, fitted.usual
    effect = statistic.smallest_effect if statistic.above else -statistic.smallest_effect
    found, least = _unscaled(statistic, usual + margin), _unscaled(statistic, usual) + effect
    thresholds = np.maximum(found, least) if statistic.above else np.maximum(np.minimum(found, least), 0.0)
    if statistic.name in UNSEEN_SHARES:
        # of days that are all or nothing, the tail of a few may lie short of them
        thresholds = np.maximum(thresholds, fitted.worst)
    if statistic.bound is not None:
        thresholds = _reachable(thresholds, least, (fitted.worst + statistic.bound) / 2, above=statistic.above)
    known = thresholds[fitted.seen]
    return np.where(fitted.seen, thresholds, known.max() if statistic.above else known.min())


def _reachable(thresholds: Numbers, least: Numbers, halfway: float, *, above: bool) -> Numbers:
    """Return thresholds no further than halfway from the worst value of the history to where no value can go.

    A tail that is extrapolated may promise that no share of missing values is unusual, not even all of them.
    """
    if above:
        return np.minimum(thresholds, np.maximum(halfway, least))
    return np.maximum(thresholds, np.minimum(halfway, least))


def _scaled(statistic: Statistic, values: Numbers) -> Numbers:
    """Return values that are larger the worse they are, on a scale on which they spread alike."""
    signed = values if statistic.above else -values
    return np.log(np.maximum(signed, 0) + statistic.smallest_effect) if statistic.logarithmic else signed


def _unscaled(statistic: Statistic, scaled: Numbers) -> Numbers:
    signed = np.exp(scaled) - statistic.smallest_effect if statistic.logarithmic else scaled
    return signed if statistic.above else -signed


_MAX_PROMISE = 3.0  # times the days of the history: what lies beyond is a guess
LASTING_SHARE = 0.5
"""Of the false alerts that a month may have: what several windows together may raise."""


def calibrate_traffic(rows: pd.DataFrame, times: RowTimes, model: Model, policy: AlarmPolicy) -> TrafficAlarms | None:
    """Return the thresholds that windows cut in time give, for each length of which there is history enough.

    `rows` are as in the log, with their labels, each predicted by a model that had not seen it; `times` say when each
    happened. None if no length has history enough.
    """
    day_of_row = local_seconds(times.seconds.astype(np.int64), zone_of(times.zone)) // DAY_SECONDS
    days = len(np.unique(day_of_row))
    false_alarm_days = promised_days(policy.false_alarm_days, days)
    unseen = unseen_elsewhere(rows, model.features, day_of_row)
    effects = smallest_effects(model, policy)
    thresholds: list[TrafficThreshold] = []
    levels: list[TrafficLevel] = []
    for length in LENGTHS_SECONDS:
        windows = measure_windows(rows, times.seconds, length, model)
        if windows.values:
            windows.values.update(unseen_shares(unseen, windows.starts, times.seconds, length))
        found = [effects.statistic(name, values) for name, values in windows.values.items()]
        statistics = [one for one in found if one is not None] + segment_statistics(windows, effects)
        rate = failed_block_rate(max(length, DAY_SECONDS), false_alarm_days)
        thresholds += fit_traffic_thresholds(statistics, windows.starts, length, rate, zone_of(times.zone))
        levels += traffic_levels(windows, length, effects, policy.false_alarm_days, zone_of(times.zone))
    if not thresholds:
        return None
    start, end = (datetime.fromtimestamp(float(moment), UTC) for moment in (times.seconds.min(), times.seconds.max()))
    return TrafficAlarms(
        time_column=times.column,
        time_zone=times.zone,
        start=start,
        end=end,
        days=days,
        false_alarm_days=false_alarm_days,
        thresholds=tuple(thresholds),
        levels=tuple(levels),
    )


def segment_statistics(windows: Windows, effects: SmallestEffects) -> list[Statistic]:
    """Return the scores of segments that have a history, as statistics of the one family."""
    histories = segment_histories(windows.segments, least=MIN_BLOCKS, numbers=effects.error > 0)
    found = [effects.statistic(Name(*key), values) for key, values in histories.items()]
    return [one for one in found if one is not None]


_STRETCH_DAYS, _FEWEST_STRETCHES, _HALVINGS = 7, 5, 4


def unseen_elsewhere(
    rows: pd.DataFrame, features: Sequence[Feature], days: npt.NDArray[np.int64]
) -> dict[Name, pd.Series]:
    """Return of each value whether some half of the history has none like it, NaN where it is missing.

    The rows of a history never leave their own range, so it cannot say how often later rows will. So the stretches of
    time, weeks or fifths of fewer days, are halved at random several times, and each half is compared with the range
    and the categories of the other. Half of the days leave twice as much unseen as all of them: a day sets a new record
    with a chance of one in the days so far, and where all rows of a window share one weather, it does so in all rows.
    """
    different, place = np.unique(days, return_inverse=True)
    stretch = place // max(1, min(_STRETCH_DAYS, len(different) // _FEWEST_STRETCHES))
    number, rng = int(stretch.max()) + 1, np.random.default_rng(0)
    halves = [np.isin(stretch, rng.permutation(number)[: number // 2]) for _ in range(_HALVINGS)]
    return {
        unseen_share_of(feature): _unseen(rows[feature.name].reset_index(drop=True), feature, halves)
        for feature in features
        if encoding_of(feature).has_range(feature)
    }


def _unseen(column: pd.Series, feature: Feature, halves: Sequence[npt.NDArray[np.bool_]]) -> pd.Series:
    encoding, known = encoding_of(feature), column.notna().to_numpy()
    found = pd.Series(np.where(known, 0.0, np.nan))
    for half in (part for one in halves for part in (one, ~one)):
        others, here = column[known & ~half], column[known & half]
        if len(others):
            like = feature.model_copy(update=encoding.describe(others))
            found[here.index[encoding.outside_training(here, like)]] = 1.0
        else:
            found[here.index] = 1.0
    return found


def unseen_shares(
    unseen: Mapping[Name, pd.Series], starts: npt.NDArray[np.int64], seconds: Numbers, interval_seconds: int
) -> dict[Name, Numbers]:
    """Return the share of such values in each window, (windows,); NaN where none is known."""
    window_of_row, numbers = seconds // interval_seconds, starts // interval_seconds
    return {
        name: values.groupby(window_of_row).mean().reindex(numbers).to_numpy(np.float64)
        for name, values in unseen.items()
    }


def traffic_levels(
    windows: Windows, interval_seconds: int, effects: SmallestEffects, false_alarm_days: float, zone: tzinfo
) -> list[TrafficLevel]:
    """Return what several windows together are compared with; none where the history has too few days.

    Of two classes one is enough: their shares add up to 1.
    """
    needless = set()
    for share in ("prediction_share", "label_share"):
        classes = sorted(name for name in windows.values if name.name == share)
        needless |= set(classes[:1] if len(classes) == 2 else [])
    found = [
        effects.level(name, values, windows.sizes[name])
        for name, values in windows.values.items()
        if name not in needless
    ]
    budget = LASTING_SHARE * FAILED_DAY_IN_DAYS / false_alarm_days
    return fit_levels([one for one in found if one is not None], windows.starts, interval_seconds, budget, zone)


def promised_days(wanted: float, days: float) -> float:
    """Return in how many days one window may fail without a change: no more than so much history can say."""
    return min(wanted, _MAX_PROMISE * days)


def failed_block_rate(block_seconds: int, false_alarm_days: float) -> float:
    """Return the chance that a block without a change has a window that fails."""
    return min(block_seconds / DAY_SECONDS / false_alarm_days, 0.5)
