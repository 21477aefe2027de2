"""The statistics and verdicts of a snapshot on many windows at once, cut in time, without Evidently."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    Calibration,
    ClassifierManifest,
    DriftMethod,
    ErrorCalibration,
    Feature,
    Manifest,
    RegressorManifest,
)
from model.artifact.traffic import LEVELS, WindowTraffic
from model.data.encoding import encoding_of, number_features
from model.statistics.bounds import highest_mean_absolute_error, highest_share, lowest_accuracy, quality_alarm_rate
from model.statistics.calibration import expected_regression_errors
from model.statistics.concept import classification_drift, flipped_share, regression_drift
from model.statistics.drift import build_statistic, in_deviations
from model.statistics.lasting import Key, LastingChange, gatherer, lasting_changes
from model.statistics.windows import Counts, Numbers
from model.training.out_of_fold import error_chances, number_errors, wrong_predictions

MIN_ROWS = 30
"""As in the API's settings: with fewer rows, or values of a column, a snapshot says "not enough data"."""
MAX_REFERENCE_ROWS = 20_000
"""As many rows as a snapshot measures: the error of a distance from sampling more is far below the floors."""

_MAX_CELLS = 4_000_000  # rows x windows in one array: 16 MB of float32
_DRIFT_NAMES = {PREDICTION: "prediction_drift", LABEL: "target_drift"}


class Name(NamedTuple):
    """What a snapshot calls a value."""

    name: str
    column: str | None


@dataclass(frozen=True)
class Model:
    """What the statistics of a window need to know of a model."""

    features: tuple[Feature, ...]
    methods: Mapping[str, DriftMethod]
    calibration: Calibration | ErrorCalibration
    reference: pd.DataFrame


class Windows(NamedTuple):
    """Windows of one length: start in seconds since the epoch, number of rows, and values, (windows,) each."""

    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: dict[Name, Numbers]


def measure_windows(
    rows: pd.DataFrame, seconds: Numbers, interval_seconds: int, model: Model, min_rows: int = MIN_ROWS
) -> Windows:
    """Cut rows, each with its label, into windows that end on multiples of the interval in UTC, and measure each.

    `seconds` (rows,) are the rows' times since the epoch. Windows with fewer than `min_rows` rows are left out; a value
    that a window does not have is NaN.
    """
    order = np.argsort(seconds, kind="stable")
    number_of_window = (seconds[order] // interval_seconds).astype(np.int64)
    numbers, first, sizes = np.unique(number_of_window, return_index=True, return_counts=True)
    kept = sizes >= min_rows
    numbers, first, sizes = numbers[kept], first[kept], sizes[kept]
    reference = _sampled(model.reference)
    parts = []
    for chunk in _chunks(sizes, len(reference)):
        places = np.concatenate(
            [np.arange(start, start + size) for start, size in zip(first[chunk], sizes[chunk], strict=True)]
        )
        counts = np.zeros((len(places), len(chunk)), dtype=np.float32)
        counts[np.arange(len(places)), np.repeat(np.arange(len(chunk)), sizes[chunk])] = 1
        parts.append(_measure(rows.iloc[order[places]], counts, model, reference, min_rows))
    names = parts[0].keys() if parts else ()
    values = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return Windows(numbers * interval_seconds, sizes.astype(np.int64), values)


def _chunks(sizes: npt.NDArray[np.intp], reference_rows: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the places of windows that are measured together, so that no array has too many cells."""
    start, rows = 0, 0
    for place, size in enumerate(sizes):
        rows += int(size)
        if place > start and (rows + reference_rows) * (place + 1 - start) > _MAX_CELLS:
            yield np.arange(start, place)
            start, rows = place, int(size)
    if start < len(sizes):
        yield np.arange(start, len(sizes))


def _measure(
    rows: pd.DataFrame, counts: Counts, model: Model, reference: pd.DataFrame, min_rows: int
) -> dict[Name, Numbers]:
    found: dict[Name, Numbers] = {}
    for column, method in model.methods.items():
        distances = build_statistic(method, reference[column], rows[column]).distances(counts)
        present = rows[column].notna().to_numpy(dtype=np.float32) @ counts
        found[Name(_DRIFT_NAMES.get(column, "data_drift"), column)] = np.where(present >= min_rows, distances, np.nan)
    found |= _means(rows, counts, model) | _answers(rows, counts, reference)
    return found | _quality(rows, counts, model.features) | _errors(rows, counts, model.calibration)


def _means(rows: pd.DataFrame, counts: Counts, model: Model) -> dict[Name, Numbers]:
    found = {}
    for feature in number_features(model.features):
        known = model.reference[feature.name].dropna().to_numpy(dtype=np.float64)
        if len(known):
            values = in_deviations(rows[feature.name].to_numpy(dtype=np.float64), known)
            found[Name("mean", feature.name)] = _mean(values, counts)
    return found


def _answers(rows: pd.DataFrame, counts: Counts, reference: pd.DataFrame) -> dict[Name, Numbers]:
    """Return the share of each class, or the mean number, among predictions and labels."""
    found = {}
    names = [str(one).removeprefix(PROBABILITY_PREFIX) for one in reference if str(one).startswith(PROBABILITY_PREFIX)]
    for column in (PREDICTION, LABEL):
        for name in names:
            of_class = np.asarray(rows[column] == name, dtype=np.float64)
            found[Name(f"{column}_share", name)] = _mean(of_class, counts)
        if not names:
            found[Name(f"{column}_mean", None)] = _mean(rows[column].to_numpy(dtype=np.float64), counts)
    return found


def _mean(values: Numbers, counts: Counts) -> Numbers:
    """Return the mean of the values that are there in each window, NaN where none is."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, values, 0.0) @ counts / (present.astype(np.float64) @ counts)


def _quality(rows: pd.DataFrame, counts: Counts, features: tuple[Feature, ...]) -> dict[Name, Numbers]:
    found = {}
    sizes = counts.sum(axis=0)
    for feature in features:
        encoding, present = encoding_of(feature), rows[feature.name].notna()
        present_rows = present.to_numpy(dtype=np.float32) @ counts
        found[Name("missing_share", feature.name)] = np.asarray(1 - present_rows / sizes, dtype=np.float64)
        if encoding.has_range(feature):
            outside = (encoding.outside_training(rows[feature.name], feature) & present).to_numpy(dtype=np.float32)
            name = "out_of_range_share" if encoding.is_number else "new_category_share"
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.asarray((outside @ counts) / present_rows, dtype=np.float64)
            found[Name(name, feature.name)] = share
    return found


def _errors(rows: pd.DataFrame, counts: Counts, calibration: Calibration | ErrorCalibration) -> dict[Name, Numbers]:
    weights = counts.astype(np.float64)
    if isinstance(calibration, Calibration):
        wrong = wrong_predictions(rows).astype(np.float64)
        expected = error_chances(rows, calibration)
        drift = classification_drift(wrong, expected, weights)
        classes = sum(str(name).startswith(PROBABILITY_PREFIX) for name in rows)
        return {
            Name("flipped_share", None): flipped_share(wrong, expected, weights, classes),
            Name("concept_z", None): drift.z,
            Name("concept_gap", None): drift.gap,
            Name("accuracy", None): 1 - drift.observed_error,
        }
    predictions = rows[PREDICTION].to_numpy(dtype=np.float64)
    found = regression_drift(number_errors(rows), expected_regression_errors(calibration, predictions), weights)
    return {
        Name("concept_size_z", None): found.absolute_z,
        Name("concept_size_gap", None): found.absolute_gap,
        Name("concept_bias_z", None): found.bias_z,
        Name("concept_bias_gap", None): found.bias_gap,
        Name("observed_bias", None): found.observed_bias,
        Name("mean_absolute_error", None): found.observed_error,
    }


def _sampled(reference: pd.DataFrame) -> pd.DataFrame:
    return reference if len(reference) <= MAX_REFERENCE_ROWS else reference.sample(MAX_REFERENCE_ROWS, random_state=0)


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
    "accuracy": "performance",
    "mean_absolute_error": "performance",
}
"""The check that fails where a value of one window is beyond its threshold."""
_FAILS_AT_LIMIT = frozenset(
    {"data_drift", "prediction_drift", "target_drift", "concept_z", "concept_size_z", "concept_bias_z"}
)


class Failure(NamedTuple):
    """A value of a window that is beyond its threshold; `measure` says which of several days, where it lasts."""

    check: str
    column: str | None
    value: float
    threshold: float
    measure: str | None = None


class JudgedWindow(NamedTuple):
    """One window: its span, its rows, its values and what fails."""

    start: datetime
    end: datetime
    rows: int
    values: dict[Name, float]
    failures: tuple[Failure, ...]


def model_of(manifest: Manifest, reference: pd.DataFrame) -> Model:
    """Return what the statistics of a window need to know of an artifact."""
    methods = {threshold.column: threshold.method for threshold in manifest.thresholds}
    return Model(manifest.features, methods, manifest.calibration, reference)


def check_windows(
    rows: pd.DataFrame,
    seconds: Numbers,
    interval_seconds: int,
    manifest: Manifest,
    reference: pd.DataFrame,
    *,
    min_rows: int = MIN_ROWS,
) -> list[JudgedWindow]:
    """Cut rows into windows as the API does, and return the verdict on each, in the order of time.

    `rows` are as in the log, each with its label, `seconds` (rows,) their times since the epoch. Attribution drift is
    not among the checks: nobody could wait for the attributions of so many rows.
    """
    windows = measure_windows(rows, seconds, interval_seconds, model_of(manifest, reference), min_rows)
    limits = _limits(windows, manifest, reference)
    lasting = _lasting(windows, interval_seconds, manifest)
    return [
        _judge(place, windows, interval_seconds, manifest, limits, lasting=lasting(place))
        for place in range(len(windows.starts))
    ]


def _lasting(windows: Windows, interval_seconds: int, manifest: Manifest) -> Callable[[int], list[LastingChange]]:
    """Return what finds the changes that last until a window, from it and those before it."""
    levels = manifest.traffic.levels_of(interval_seconds) if manifest.traffic else []
    values: dict[Key, Numbers] = {
        (name.name, name.column): windows.values[name] for name in windows.values if name.name in LEVELS
    }
    gathered = gatherer(values, windows.starts, windows.rows.astype(np.float64), interval_seconds)
    return lambda place: lasting_changes(levels, gathered(place), interval_seconds) if levels else []


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
    traffic = WindowTraffic(manifest.traffic, start, interval_seconds)
    values = {name: float(found[place]) for name, found in windows.values.items() if np.isfinite(found[place])}
    failures = []
    for name, value in values.items():
        if name in limits:
            limit = traffic.limit(name.name, name.column, limits[name](place, _present(windows, name, place)))
            if _fails(name.name, value, limit):
                column = name.column if CHECK_OF[name.name] != "performance" else name.name
                failures.append(Failure(CHECK_OF[name.name], column, value, limit))
    failures += [Failure(one.check, one.about, one.value, one.threshold, one.measure) for one in lasting]
    end = datetime.fromtimestamp(int(windows.starts[place]) + interval_seconds, UTC)
    return JudgedWindow(start, end, int(windows.rows[place]), values, tuple(failures))


def _fails(name: str, value: float, limit: float) -> bool:
    if name == "accuracy":
        return value < limit
    return value >= limit if name in _FAILS_AT_LIMIT else value > limit


def _present(windows: Windows, name: Name, place: int) -> int:
    """Return how many values of the column, or rows, the window has."""
    missing = windows.values.get(Name("missing_share", name.column))
    rows = int(windows.rows[place])
    return rows if missing is None or name.name == "missing_share" else round(rows * (1 - float(missing[place])))


def _limits(windows: Windows, manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    return _drift_limits(manifest) | _quality_limits(manifest, reference) | _error_limits(windows, manifest, reference)


def _drift_limits(manifest: Manifest) -> dict[Name, Limit]:
    names = {"prediction": "prediction_drift", "label": "target_drift"}
    return {
        Name(names.get(one.column, "data_drift"), one.column): lambda _place, rows, at=one.at: at(rows)  # type: ignore[misc]
        for one in manifest.thresholds
    }


def _quality_limits(manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    rate = quality_alarm_rate(manifest)
    limits: dict[Name, Limit] = {}
    for feature in manifest.features:
        encoding, known = encoding_of(feature), reference[feature.name].dropna()
        limits[Name("missing_share", feature.name)] = _share_limit(len(reference) - len(known), len(reference), rate)
        if encoding.has_range(feature) and len(known):
            name = "out_of_range_share" if encoding.is_number else "new_category_share"
            outside = int(encoding.outside_training(known, feature).sum())
            limits[Name(name, feature.name)] = _share_limit(outside, len(known), rate)
    return limits


def _share_limit(hits: int, known: int, rate: float) -> Limit:
    highest = lru_cache(maxsize=None)(partial(highest_share, hits, known, alarm_rate=rate))
    return lambda _place, rows: highest(window_rows=rows) if rows else 1.0


def _error_limits(windows: Windows, manifest: Manifest, reference: pd.DataFrame) -> dict[Name, Limit]:
    limits: dict[Name, Limit] = {}
    threshold = manifest.concept_threshold
    for name in ("concept", "concept_size", "concept_bias"):
        z, gap = (windows.values.get(Name(f"{name}_{part}", None)) for part in ("z", "gap"))
        if z is not None and gap is not None:
            gap_floor = WindowTraffic(manifest.traffic).limit(f"{name}_gap", None, threshold.gap_floor)
            limits[Name(f"{name}_z", None)] = _z_limit(z, gap, threshold.at, gap_floor)
    if isinstance(manifest, ClassifierManifest):
        right = ~wrong_predictions(reference)
        lowest = lru_cache(maxsize=None)(lambda rows: lowest_accuracy(rows, right, manifest))
        limits[Name("accuracy", None)] = lambda _place, rows: lowest(rows)
    elif isinstance(manifest, RegressorManifest):
        errors = number_errors(reference)
        highest = lru_cache(maxsize=None)(lambda rows: highest_mean_absolute_error(rows, errors, manifest))
        limits[Name("mean_absolute_error", None)] = lambda _place, rows: highest(rows)
    return limits


def _z_limit(z: Numbers, gap: Numbers, at: Callable[[int], float], gap_floor: float) -> Limit:
    """Return the limit of z: the calibrated one, or the z at which the gap is large enough to be worth an alarm."""

    def limit(place: int, rows: int) -> float:
        smallest = gap_floor * float(z[place]) / float(gap[place]) if gap[place] > 0 else 0.0
        return max(at(rows), smallest)

    return limit
