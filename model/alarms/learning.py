"""Alarms of a service that learns: until its own windows have shown what is usual, only gross changes alarm."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.alarms.effects import SmallestEffects, Statistic, effects_of
from model.alarms.traffic import (
    MIN_BLOCKS,
    failed_block_rate,
    fit_traffic_thresholds,
    promised_days,
    segment_statistics,
    traffic_levels,
)
from model.alarms.window_segments import Segments, segments_of_log
from model.alarms.window_values import Model, Name, Windows, measure_windows
from model.artifact.manifest import DriftMethod, Manifest
from model.artifact.traffic import DAY_SECONDS, LABELLED_LEVELS, TrafficAlarms, TrafficThreshold
from model.data.time_column import zone_of
from model.statistics.drift import build_statistic
from model.statistics.windows import single_window

GROSS = 10.0
"""A gross change is so many of the smallest effects that are worth an alarm: half of the rows missing, say."""
_COMMON_VALUES = 2  # a window of nothing but one of so many values may still be usual at its hour
_OF_LABELS = ("target", "concept", "accuracy", "mean_absolute_error", "recall")  # how the names of such values begin
_Z_OF_GAP = {"concept_gap": "concept_z", "concept_size_gap": "concept_size_z", "concept_bias_gap": "concept_bias_z"}


def gross_thresholds(model: Model, effects: SmallestEffects, *, attributions: bool) -> tuple[TrafficThreshold, ...]:
    """Return from where on a change alarms while nothing is known of what is usual.

    Drift is gross where a window is further from the reference than one that holds nothing but the smallest or the
    largest number, or nothing but the most or second most common value; every other statistic where it is `GROSS` of
    its smallest effects from that of the reference. On January and February of flights, which a model had learned
    from, 125 of 877 hourly windows failed with the 1st and 99th percentile in place of the extremes; with these and
    two values 90 do, 88 of them for air pressure that most rows lack.
    """
    reference = model.reference
    whole = measure_windows(reference, np.zeros(len(reference)), DAY_SECONDS, model, min_rows=1)
    found = []
    for name, (value,) in whole.values.items():
        if name.name in _Z_OF_GAP:
            # the gap has no threshold in time, as it fails together with its z
            found.append(_threshold(Statistic(name.name, None, np.empty(0), effects.concept_gap), 0.0))
        elif (statistic := effects.statistic(name, whole.values[name])) is not None:
            column = statistic.column
            if column is not None and column in model.methods and name.name.endswith("_drift"):
                far = _far(reference[column], model.methods[column])
                found.append(_threshold(statistic, 0.0, far + statistic.smallest_effect))
            else:
                found.append(_threshold(statistic, 0.0 if name.name in _Z_OF_GAP.values() else value))
    if attributions:
        for key, usual, limit in (("attribution_ndcg", 1.0, 0.5), ("attribution_distance", 0.0, 0.5)):
            statistic = effects.statistic(Name(key, None), np.empty(0))
            if statistic is not None:
                found.append(_threshold(statistic, usual, limit))
    return tuple(found)


def _threshold(statistic: Statistic, usual: float, limit: float | None = None) -> TrafficThreshold:
    if limit is None:
        effect = GROSS * statistic.smallest_effect
        limit = usual + effect if statistic.above else usual - effect
    return TrafficThreshold(
        name=statistic.name,
        column=statistic.column,
        above=statistic.above,
        interval_seconds=DAY_SECONDS,
        cycle="none",
        usual=(usual,),
        thresholds=(limit,),
        blocks=0,
        windows=0,
    )


def _far(reference: pd.Series, method: DriftMethod) -> float:
    """Return how far a window of one value is, which may still be usual at some hour."""
    known = reference.dropna()
    if known.empty:
        return 1.0
    if method == "wasserstein":
        values = [float(known.min()), float(known.max())]
    else:
        values = list(known.astype(str).value_counts().index[:_COMMON_VALUES])
    windows = (build_statistic(method, reference, pd.Series([value], dtype=known.dtype)) for value in values)
    return max(float(one.distances(single_window(1))[0]) for one in windows)


def alarms_while_learning(gross: tuple[TrafficThreshold, ...], false_alarm_days: float, zone: str) -> TrafficAlarms:
    """Return the alarms of a model of whose windows nothing is known yet."""
    return TrafficAlarms(time_zone=zone, days=0, false_alarm_days=false_alarm_days, thresholds=gross)


def learn(
    windows: Windows,
    interval_seconds: int,
    manifest: Manifest,
    *,
    false_alarm_days: float,
    zone: str,
    least_seconds: float = 0.0,
    only: tuple[TrafficThreshold, ...] | None = None,
) -> TrafficAlarms | None:
    """Return the alarms that a service's own windows give; None where they say too little.

    `windows` are as measured by snapshots, in the order of time. A statistic counts where its values span
    `least_seconds`; `only` limits the statistics to those of such thresholds, beyond which a value is left out: what
    was a gross change is not usual. Where there are too few days, the unit of chance is the hour, else the window; the
    promise of false alarms is then as short as the history. The scores of segments are learned with that of all rows;
    of a segment without enough history, that of all rows says how far it may stray.
    """
    effects = effects_of(manifest)
    gross = None if only is None else {(one.name, one.column): one for one in only}
    statistics = []
    for name, values in windows.values.items():
        statistic = effects.statistic(name, values)
        if statistic is None or (gross is not None and (statistic.name, statistic.column) not in gross):
            continue
        if gross is not None:
            statistic = _without_gross(statistic, gross[statistic.name, statistic.column])
        if _spans(statistic, windows, interval_seconds, least_seconds):
            statistics.append(statistic)
    statistics += _of_segments(windows, interval_seconds, effects, least_seconds=least_seconds, gross=gross)
    if not statistics:
        return None
    block = block_seconds(windows.starts, interval_seconds)
    span_seconds = int(windows.starts[-1] - windows.starts[0]) + interval_seconds
    with_windows = len(np.unique(windows.starts // block)) * max(block, interval_seconds)
    days = min(span_seconds, with_windows) / DAY_SECONDS
    promised = promised_days(false_alarm_days, days)
    rate = failed_block_rate(max(block, interval_seconds), promised)
    found = fit_traffic_thresholds(
        statistics, windows.starts, interval_seconds, rate, zone_of(zone), block_seconds=block
    )
    if not found:
        return None
    return TrafficAlarms(
        time_zone=zone,
        start=datetime.fromtimestamp(int(windows.starts[0]), UTC),
        end=datetime.fromtimestamp(int(windows.starts[-1]) + interval_seconds, UTC),
        days=days,
        false_alarm_days=promised,
        thresholds=tuple(found),
        levels=tuple(traffic_levels(windows, interval_seconds, effects, false_alarm_days, zone_of(zone))),
    )


def _spans(statistic: Statistic, windows: Windows, interval_seconds: int, least_seconds: float) -> bool:
    known = windows.starts[np.isfinite(statistic.values)]
    return len(known) > 0 and bool(known[-1] + interval_seconds - known[0] >= least_seconds)


def _of_segments(
    windows: Windows,
    interval_seconds: int,
    effects: SmallestEffects,
    *,
    least_seconds: float,
    gross: Mapping[tuple[str, str | None], TrafficThreshold] | None,
) -> list[Statistic]:
    """Return the scores of segments, without what is a gross change from the segment's median."""
    if gross is not None and not gross.keys() & {("accuracy", None), ("mean_absolute_error", None)}:
        return []
    found = segment_statistics(windows, effects)
    if gross is not None:
        found = [_without_gross(one, _threshold(one, float(np.nanmedian(one.values)))) for one in found]
    return [one for one in found if _spans(one, windows, interval_seconds, least_seconds)]


def block_seconds(starts: npt.NDArray[np.int64], interval_seconds: int) -> int:
    """Return the unit of chance of a history: days where there are enough, else hours, else windows."""
    for block in (DAY_SECONDS, 3_600):
        if len(np.unique(starts // block)) >= MIN_BLOCKS:
            return block
    return interval_seconds


def _without_gross(statistic: Statistic, gross: TrafficThreshold) -> Statistic:
    limit = gross.thresholds[0]
    beyond = statistic.values > limit if gross.above else statistic.values < limit
    return replace(statistic, values=np.where(beyond, np.nan, statistic.values))


def joined(parts: Sequence[Windows]) -> Windows:
    """Return windows that were measured in several parts, one after the other in time."""
    names = dict.fromkeys(name for part in parts for name in part.values)

    def column(name: Name, kind: str, filling: float) -> npt.NDArray[np.float64]:
        return np.concatenate(
            [getattr(part, kind).get(name, np.full(len(part.starts), filling)) for part in parts], dtype=np.float64
        )

    return Windows(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.rows for part in parts]),
        {name: column(name, "values", np.nan) for name in names},
        {name: column(name, "sizes", 0.0) for name in names},
        tuple(window for part in parts for window in part.segments),
    )


def with_attributions(windows: Windows, stored: Windows) -> Windows:
    """Return windows that were measured again, with the attributions that their snapshots had.

    These do not depend on the reference rows, and to explain so many rows again would take hours.
    """
    _, places, places_stored = np.intersect1d(windows.starts, stored.starts, return_indices=True)
    values, sizes = dict(windows.values), dict(windows.sizes)
    for name in stored.values:
        if name.name.startswith("attribution"):
            values[name], sizes[name] = np.full(len(windows.starts), np.nan), np.zeros(len(windows.starts))
            values[name][places] = stored.values[name][places_stored]
            sizes[name][places] = stored.sizes[name][places_stored]
    return windows._replace(values=values, sizes=sizes)


class StoredWindow(NamedTuple):
    """What the log keeps of a measured window: its start in seconds since the epoch, rows, labels, and values."""

    start: int
    rows: int
    labels: int
    values: Mapping[Name, float]


def windows_of(
    stored: Sequence[StoredWindow], manifest: Manifest | None = None, reference: pd.DataFrame | None = None
) -> Windows:
    """Return measured windows as arrays, in the order of time, as if they had just been measured.

    With the manifest they have their segments; to judge these, the reference is needed.
    """
    ordered = sorted(stored, key=lambda window: window.start)
    rows, labels = (np.array([getattr(one, kind) for one in ordered], dtype=np.float64) for kind in ("rows", "labels"))
    # segments are none of the arrays: a column with many values would have one for each
    names = dict.fromkeys(name for window in ordered for name in window.values if not name.name.startswith("segment_"))
    segments: Segments = ()
    if manifest is not None:
        of_labels = [window.labels for window in ordered]
        of_values = [{(*name,): value for name, value in window.values.items()} for window in ordered]
        segments = segments_of_log(of_values, of_labels, manifest, reference)
    values = {name: np.array([window.values.get(name, np.nan) for window in ordered]) for name in names}
    sizes = {}
    for name in names:
        missing = values.get(Name("missing_share", name.column), np.zeros(len(ordered)))
        known = rows if name.name == "missing_share" else np.round(rows * (1 - np.nan_to_num(missing)))
        counts_labels = name.name in LABELLED_LEVELS or name.name.startswith(_OF_LABELS)
        sizes[name] = labels if counts_labels else known
        of_class = values.get(Name("labels_by_class", name.column))
        if name.name == "recall_by_class" and of_class is not None:
            sizes[name] = np.nan_to_num(of_class)
    starts = np.array([window.start for window in ordered], dtype=np.int64)
    return Windows(starts, rows.astype(np.int64), values, sizes, segments)
