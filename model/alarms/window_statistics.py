"""The statistics of windows cut in time, under the names that a snapshot gives its values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import LABEL, PREDICTION, Calibration, DriftMethod, ErrorCalibration, Feature
from model.data.encoding import encoding_of
from model.statistics.calibration import expected_regression_errors
from model.statistics.concept import classification_drift, regression_drift
from model.statistics.drift import build_statistic
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
    return found | _quality(rows, counts, model.features) | _errors(rows, counts, model.calibration)


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
        drift = classification_drift(wrong, error_chances(rows, calibration), weights)
        return {
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
        Name("mean_absolute_error", None): found.observed_error,
    }


def _sampled(reference: pd.DataFrame) -> pd.DataFrame:
    return reference if len(reference) <= MAX_REFERENCE_ROWS else reference.sample(MAX_REFERENCE_ROWS, random_state=0)
