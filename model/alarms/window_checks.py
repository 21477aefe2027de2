"""The verdicts of a snapshot on many windows at once, cut in time, without Evidently."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.alarms.window_values import (
    MIN_ROWS,
    Name,
    Windows,
    measure_windows,
    model_of,
    unseen_share_of,
)
from model.artifact.estimates import Estimates
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest, RegressorManifest
from model.artifact.traffic import NOT_IN_OLDER_ALARMS, WindowTraffic
from model.data.encoding import encoding_of
from model.statistics.attribution import MAX_EXPLAINED_ROWS, NDCG_ALARM
from model.statistics.bounds import (
    commonest_values,
    highest_mean_absolute_error,
    highest_share,
    highest_stuck_share,
    lowest_accuracy,
    lowest_recall,
    quality_alarm_rate,
)
from model.statistics.lasting import LastingChange, gatherer, lasting_changes, without_hours
from model.statistics.segments import SegmentScores, is_worse, row_scores, segment_bounds, segment_score
from model.statistics.windows import Numbers, TimedRows, labelled_part
from model.training.out_of_fold import number_errors, wrong_predictions

Limit = Callable[[int, int], float]
"""The limit of a statistic from what the rows alone say, by the place of the window and its number of values."""

CHECK_OF = {
    "data_drift": "data_drift",
    "prediction_drift": "prediction_drift",
    "target_drift": "target_drift",
    "concept_z": "concept_drift",
    "concept_size_z": "concept_drift",
    "concept_bias_z": "concept_drift",
    "missing_share": "data_quality",
    "out_of_range_share": "data_quality",
    "new_category_share": "data_quality",
    "stuck_share": "data_quality",
    "accuracy": "performance",
    "recall_by_class": "performance",
    "mean_absolute_error": "performance",
    "segment_accuracy": "performance",
    "segment_mean_absolute_error": "performance",
    "attribution_ndcg": "attribution_drift",
    "attribution_distance": "attribution_drift",
}
"""The check that a value belongs to; other values are shown and not judged."""
_FAILS_AT_LIMIT = frozenset(
    {
        "data_drift",
        "prediction_drift",
        "target_drift",
        "concept_z",
        "concept_size_z",
        "concept_bias_z",
        "attribution_distance",
    }
)


_FAILS_BELOW = frozenset({"accuracy", "recall_by_class", "attribution_ndcg"})


class Failure(NamedTuple):
    """A value of a window that is beyond its threshold.

    `measure` says which of several days, where it lasts, and is "segment" where a segment fails. `statistic` is the
    name of the value in one window; None where several windows show the change.
    """

    check: str
    column: str | None
    value: float
    threshold: float
    measure: str | None = None
    statistic: str | None = None


class JudgedWindow(NamedTuple):
    """One window: its span, its rows, its values and what fails."""

    start: datetime
    end: datetime
    rows: int
    values: dict[Name, float]
    failures: tuple[Failure, ...]


def check_windows(
    rows: pd.DataFrame,
    seconds: Numbers,
    interval_seconds: int,
    manifest: Manifest,
    reference: pd.DataFrame,
    *,
    min_rows: int = MIN_ROWS,
    labelled: TimedRows | None = None,
    min_labels: int | None = None,
    estimates: Estimates | None = None,
) -> list[JudgedWindow]:
    """Cut rows into windows as the API does, and return the verdict on each, in the order of time.

    Rows, times and labels are those of `measure_windows`. Attribution drift is not among the checks: nobody could wait
    for the attributions of so many rows.
    """
    model = model_of(manifest, reference)
    windows = measure_windows(
        rows,
        seconds,
        interval_seconds,
        model,
        min_rows,
        labelled=labelled,
        min_labels=min_labels,
        estimates=estimates,
        segment_drift=True,
    )
    return judge_windows(windows, interval_seconds, manifest, reference)


def judge_windows(
    windows: Windows, interval_seconds: int, manifest: Manifest, reference: pd.DataFrame
) -> list[JudgedWindow]:
    """Return the verdict on each of some measured windows, in the order of time."""
    limits = _limits(windows, manifest, reference)
    lasting = _lasting(windows, interval_seconds, manifest)
    found = [
        _judge(place, windows, interval_seconds, manifest, limits, lasting=lasting(place))
        for place in range(len(windows.starts))
    ]
    if not windows.segments:
        return found
    scores = row_scores(reference, manifest)
    return [
        _with_segments(window, scored, _labels(place, windows), manifest, scores)
        for place, (window, scored) in enumerate(zip(found, windows.segments, strict=True))
    ]


def _labels(place: int, windows: Windows) -> int:
    """Return how many labels a window has, 0 where they are too few to judge it."""
    for name in (Name("accuracy", None), Name("mean_absolute_error", None)):
        if name in windows.values and np.isfinite(windows.values[name][place]):
            return int(windows.sizes[name][place])
    return 0


def _with_segments(
    window: JudgedWindow,
    scored: Sequence[SegmentScores],
    labels: int,
    manifest: Manifest,
    reference_scores: Numbers,
) -> JudgedWindow:
    """Return a window with the values of its segments, and with those that fail."""
    numbers = isinstance(manifest, RegressorManifest)
    values = {
        Name(name, one.label): value
        for one in scored
        for name, value in one.values(numbers=numbers).items()
        if np.isfinite(value)
    }
    failures: list[Failure] = []
    if labels:
        seconds = (window.end - window.start).total_seconds()
        traffic = WindowTraffic(manifest.traffic, window.start, seconds, manifest.overrides)
        bounds = segment_bounds(scored, labels, reference_scores, manifest, traffic)
        failures = [
            Failure("performance", one.label, one.score, bound.limit, "segment", segment_score(numbers=numbers))
            for one, bound in zip(scored, bounds, strict=True)
            if is_worse(one, bound, numbers=numbers)
        ]
    return window._replace(values=window.values | values, failures=(*window.failures, *failures))


def failed_checks(windows: Windows, manifest: Manifest, reference: pd.DataFrame) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each check which of some windows fail it by what the rows alone say, (windows,)."""
    failed: dict[str, npt.NDArray[np.bool_]] = {}
    for name, limit in _limits(windows, manifest, reference).items():
        if name in windows.values:
            values, sizes = windows.values[name], windows.sizes[name].astype(int)
            fails = [
                bool(np.isfinite(value)) and _fails(name.name, float(value), limit(place, int(size)))
                for place, (value, size) in enumerate(zip(values, sizes, strict=True))
            ]
            check = CHECK_OF[name.name]
            failed[check] = failed.get(check, np.zeros(len(values), dtype=bool)) | np.array(fails, dtype=bool)
    return failed


def _lasting(windows: Windows, interval_seconds: int, manifest: Manifest) -> Callable[[int], list[LastingChange]]:
    """Return what finds the changes that last until a window, from it and those before it."""
    levels = manifest.traffic.levels_of(interval_seconds) if manifest.traffic else []
    values = {(level.name, level.column): windows.values.get(Name(level.name, level.column)) for level in levels}
    known = {key: found for key, found in values.items() if found is not None}
    sizes = {key: windows.sizes[Name(*key)] for key in known}
    if manifest.traffic:
        known = without_hours(levels, known, windows.starts, ZoneInfo(manifest.traffic.time_zone))
    gathered = gatherer(known, sizes, windows.starts, interval_seconds)

    def lasting(place: int) -> list[LastingChange]:
        sums = gathered(int(windows.starts[place])) if levels else {}
        measured = {key: found for key, found in sums.items() if np.isfinite(known[key][place])}
        return lasting_changes(levels, measured, interval_seconds)

    return lasting


def _judge(
    place: int,
    windows: Windows,
    interval_seconds: int,
    manifest: Manifest,
    limits: dict[Name, Limit],
    *,
    lasting: list[LastingChange],
) -> JudgedWindow:
    start = datetime.fromtimestamp(int(windows.starts[place]), UTC)
    traffic = WindowTraffic(manifest.traffic, start, interval_seconds, manifest.overrides)
    values = {name: float(found[place]) for name, found in windows.values.items() if np.isfinite(found[place])}
    failures = []
    for name, value in values.items():
        if name in limits and (name.name not in NOT_IN_OLDER_ALARMS or traffic.covers(*name)):
            by_rows = limits[name](place, int(windows.sizes[name][place]))
            limit = traffic.limit(name.name, name.column, by_rows)
            if _fails(name.name, value, limit):
                check = CHECK_OF[name.name]
                column = name.column or (name.name if check == "performance" else None)
                failures.append(Failure(check, column, value, limit, statistic=name.name))
    failures += [Failure(one.check, one.about, one.value, one.threshold, one.measure) for one in lasting]
    end = datetime.fromtimestamp(int(windows.starts[place]) + interval_seconds, UTC)
    return JudgedWindow(start, end, int(windows.rows[place]), values, tuple(failures))


def _fails(name: str, value: float, limit: float) -> bool:
    if name in _FAILS_BELOW:
        return value < limit
    return value >= limit if name in _FAILS_AT_LIMIT else value > limit


def _limits(windows: Windows, manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    return (
        _drift_limits(manifest)
        | _quality_limits(manifest, reference)
        | _error_limits(windows, manifest, reference)
        | _attribution_limits(manifest)
    )


def _attribution_limits(manifest: Manifest) -> dict[Name, Limit]:
    limits: dict[Name, Limit] = {Name("attribution_ndcg", None): lambda _place, _rows: NDCG_ALARM}
    threshold = manifest.attribution_threshold
    if threshold is not None:
        limits[Name("attribution_distance", None)] = _by_rows(lambda rows: threshold.at(min(rows, MAX_EXPLAINED_ROWS)))
    return limits


def _drift_limits(manifest: Manifest) -> dict[Name, Limit]:
    names = {PREDICTION: "prediction_drift", LABEL: "target_drift"}
    return {Name(names.get(one.column, "data_drift"), one.column): _by_rows(one.at) for one in manifest.thresholds}


def _by_rows(limit: Callable[[int], float]) -> Limit:
    """Return a limit that follows from the number of values alone, worked out once for each."""
    known = lru_cache(maxsize=None)(limit)
    return lambda _place, rows: known(rows)


def _quality_limits(manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    rate = quality_alarm_rate(manifest)
    limits: dict[Name, Limit] = {}
    for feature in manifest.features:
        encoding, known = encoding_of(feature), reference[feature.name].dropna()
        limits[Name("missing_share", feature.name)] = _share_limit(len(reference) - len(known), len(reference), rate)
        if encoding.has_range(feature) and len(known):
            outside = int(encoding.outside_training(known, feature).sum())
            limits[unseen_share_of(feature)] = _share_limit(outside, len(known), rate)
        if encoding.is_number and len(known):
            hits, alike = commonest_values(known.to_numpy(dtype=np.float64))
            limits[Name("stuck_share", feature.name)] = _stuck_limit(hits, alike, len(known), rate)
    return limits


def _stuck_limit(hits: int, alike: int, known: int, rate: float) -> Limit:
    highest = lru_cache(maxsize=None)(partial(highest_stuck_share, hits, alike, known, alarm_rate=rate))
    return lambda _place, rows: highest(window_rows=rows)


def _share_limit(hits: int, known: int, rate: float) -> Limit:
    highest = lru_cache(maxsize=None)(partial(highest_share, hits, known, alarm_rate=rate))
    return lambda _place, rows: highest(window_rows=rows) if rows else 1.0


def _error_limits(windows: Windows, manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    limits: dict[Name, Limit] = {}
    threshold = manifest.concept_threshold
    for name in ("concept", "concept_size", "concept_bias"):
        z, gap = (windows.values.get(Name(f"{name}_{part}", None)) for part in ("z", "gap"))
        if z is not None and gap is not None and threshold is not None:
            gap_floor = WindowTraffic(manifest.traffic).limit(f"{name}_gap", None, threshold.gap_floor)
            limits[Name(f"{name}_z", None)] = _z_limit(z, gap, lru_cache(maxsize=None)(threshold.at), gap_floor)
    reference = labelled_part(reference)
    if isinstance(manifest, ClassifierManifest):
        right = ~wrong_predictions(reference)
        limits[Name("accuracy", None)] = _by_rows(lambda rows: lowest_accuracy(rows, right, manifest))
        for name in manifest.class_names:
            of_class = right[(reference[LABEL] == name).to_numpy()]
            limits[Name("recall_by_class", name)] = _recall_limit(name, of_class, manifest)
    elif isinstance(manifest, RegressorManifest):
        errors = number_errors(reference)
        limits[Name("mean_absolute_error", None)] = _by_rows(
            lambda rows: highest_mean_absolute_error(rows, errors, manifest)
        )
    return limits


def _recall_limit(name: str, right_of_class: npt.NDArray[np.bool_], manifest: ClassifierManifest) -> Limit:
    return _by_rows(lambda labels: lowest_recall(labels, name, right_of_class, manifest))


def _z_limit(z: Numbers, gap: Numbers, at: Callable[[int], float], gap_floor: float) -> Limit:
    """Return the limit of z: the calibrated one, or the z at which the gap is large enough to be worth an alarm."""

    def limit(place: int, rows: int) -> float:
        smallest = gap_floor * float(z[place]) / float(gap[place]) if gap[place] > 0 else 0.0
        return max(at(rows), smallest)

    return limit
