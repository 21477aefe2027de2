"""The values of a snapshot on many windows at once, cut in time, without Evidently."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimates import Estimates
from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    Calibration,
    DriftMethod,
    ErrorCalibration,
    Feature,
    Manifest,
)
from model.data.encoding import encoding_of, number_features
from model.statistics.calibration import expected_regression_errors
from model.statistics.concept import classification_drift, flipped_share, random_label_share, regression_drift
from model.statistics.drift import build_statistic, in_deviations
from model.statistics.estimation import intervals, said, window_moments
from model.statistics.windows import Counts, Numbers
from model.training.out_of_fold import chances_and_labels, error_chances, number_errors, wrong_predictions

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
    calibration: Calibration | ErrorCalibration | None
    reference: pd.DataFrame


def unseen_share_of(feature: Feature) -> Name:
    """Return the name of the share of values that training has not seen."""
    return Name("out_of_range_share" if encoding_of(feature).is_number else "new_category_share", feature.name)


def model_of(manifest: Manifest, reference: pd.DataFrame) -> Model:
    """Return what the statistics of a window need to know of an artifact."""
    methods = {threshold.column: threshold.method for threshold in manifest.thresholds}
    return Model(manifest.features, methods, manifest.calibration, reference)


class TimedRows(NamedTuple):
    """Rows as in the log, and when each was predicted or its label arrived, in seconds since the epoch, (rows,)."""

    rows: pd.DataFrame
    seconds: Numbers


class Measured(NamedTuple):
    """One statistic of many windows, and how many values each window had for it, (windows,) each."""

    values: Numbers
    sizes: Numbers


class Windows(NamedTuple):
    """Windows of one length: start in seconds since the epoch, number of rows, and values, (windows,) each.

    `sizes` say on how many rows, values or labels each value was measured.
    """

    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: dict[Name, Numbers]
    sizes: dict[Name, Numbers]


def measure_windows(
    rows: pd.DataFrame,
    seconds: Numbers,
    interval_seconds: int,
    model: Model,
    min_rows: int = MIN_ROWS,
    *,
    labelled: TimedRows | None = None,
    min_labels: int | None = None,
    estimates: Estimates | None = None,
) -> Windows:
    """Cut rows into windows that end on multiples of the interval in UTC, and measure each.

    `seconds` (rows,) are the times at which the rows were predicted, since the epoch. `labelled` are the rows whose
    label arrived, each at the time of its arrival; without them, the label of a row is taken to arrive with the row.
    A row without a label, or a frame without labels, counts for nothing that needs one. Windows with fewer than
    `min_rows` rows and `min_labels` labels (by default as many) are left out; a value that a window does not have is
    NaN.
    """
    labelled = _with_labels(TimedRows(rows, seconds) if labelled is None else labelled)
    reference = _sampled(model.reference)
    predicted = _Cut.of(TimedRows(rows, seconds), interval_seconds, min_rows)
    arrived = _Cut.of(labelled, interval_seconds, min_rows if min_labels is None else min_labels)
    numbers = np.union1d(predicted.numbers[predicted.measured], arrived.numbers[arrived.measured])
    found = predicted.spread(numbers, len(reference), partial(_measure_rows, model=model, reference=reference))
    if estimates is not None:
        found |= _estimated(predicted, numbers, model, estimates, interval_seconds)
    found |= arrived.spread(numbers, len(reference), partial(_measure_labels, model=model, reference=reference))
    return Windows(
        numbers * interval_seconds,
        predicted.sizes_of(numbers),
        {name: one.values for name, one in found.items()},
        {name: one.sizes for name, one in found.items()},
    )


def measure_counts(rows: pd.DataFrame, counts: Counts, model: Model, min_rows: int = MIN_ROWS) -> Windows:
    """Measure windows that are given by how often each holds each row, (rows, windows); all rows have labels.

    What no check judges by a single window is left out. Windows are numbered instead of having a start.
    """
    reference = _sampled(model.reference)
    found = _drifts(rows, counts, min_rows, model.methods, reference)
    found |= _quality(rows, counts, model.features)
    found |= _errors(rows, counts, model.calibration, gathered=False)
    values, sizes = ({name: one[part] for name, one in found.items()} for part in (0, 1))
    return Windows(np.arange(counts.shape[1]), np.round(counts.sum(axis=0)).astype(np.int64), values, sizes)


def _with_labels(given: TimedRows) -> TimedRows:
    known = given.rows[LABEL].notna().to_numpy() if LABEL in given.rows else np.zeros(len(given.rows), dtype=bool)
    return given if known.all() and LABEL in given.rows else TimedRows(given.rows[known], given.seconds[known])


@dataclass(frozen=True)
class _Cut:
    """Rows cut into windows: their order in time, and of each window its number, its first row and its size."""

    rows: pd.DataFrame
    order: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.int64]
    first: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]
    min_rows: int

    @classmethod
    def of(cls, given: TimedRows, interval_seconds: int, min_rows: int) -> "_Cut":
        order = np.argsort(given.seconds, kind="stable")
        number_of_window = (np.asarray(given.seconds)[order] // interval_seconds).astype(np.int64)
        numbers, first, sizes = np.unique(number_of_window, return_index=True, return_counts=True)
        return cls(given.rows, order, numbers, first, sizes, max(1, min_rows))

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Which windows have rows enough."""
        return np.asarray(self.sizes >= self.min_rows)

    def sizes_of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many rows each of these windows has."""
        found = np.zeros(len(numbers), dtype=np.int64)
        here = np.isin(self.numbers, numbers)
        found[np.searchsorted(numbers, self.numbers[here])] = self.sizes[here]
        return found

    def spread(
        self,
        numbers: npt.NDArray[np.int64],
        reference_rows: int,
        measure: Callable[[pd.DataFrame, Counts, int], dict[Name, Measured]],
    ) -> dict[Name, Measured]:
        """Measure the windows that have rows enough; return what was found for all of `numbers`, NaN elsewhere."""
        kept = self.measured
        places = np.searchsorted(numbers, self.numbers[kept])
        first, sizes = self.first[kept], self.sizes[kept]
        found: dict[Name, Measured] = {}
        for chunk in places_together(sizes, reference_rows):
            rows_of_chunk = np.concatenate(
                [np.arange(start, start + size) for start, size in zip(first[chunk], sizes[chunk], strict=True)]
            )
            counts = np.zeros((len(rows_of_chunk), len(chunk)), dtype=np.float32)
            counts[np.arange(len(rows_of_chunk)), np.repeat(np.arange(len(chunk)), sizes[chunk])] = 1
            part = measure(self.rows.iloc[self.order[rows_of_chunk]], counts, self.min_rows)
            for name, (values, present) in part.items():
                whole = found.setdefault(name, Measured(np.full(len(numbers), np.nan), np.zeros(len(numbers))))
                whole.values[places[chunk]] = values
                whole.sizes[places[chunk]] = present
        return found


def _estimated(
    cut: _Cut, numbers: npt.NDArray[np.int64], model: Model, estimates: Estimates, interval_seconds: int
) -> dict[Name, Measured]:
    """Return the estimated performance of the windows that have rows enough."""
    kept, names = cut.measured, class_names_of(model.reference)
    moments = [
        window_moments(cut.rows.iloc[cut.order[first : first + size]], names, estimates)
        for first, size in zip(cut.first[kept], cut.sizes[kept], strict=True)
    ]
    places, sizes = np.searchsorted(numbers, cut.numbers[kept]), cut.sizes_of(numbers).astype(np.float64)
    found = {}
    for name, values in said(intervals(moments, estimates, interval_seconds)).items():
        whole = np.full(len(numbers), np.nan)
        whole[places] = values
        found[Name(name, None)] = Measured(whole, sizes)
    return found


def class_names_of(rows: pd.DataFrame) -> tuple[str, ...] | None:
    """Return the names of the classes that logged rows have probabilities of; None where they predict a number."""
    names = [str(name) for name in rows if str(name).startswith(PROBABILITY_PREFIX)]
    return tuple(name.removeprefix(PROBABILITY_PREFIX) for name in names) or None


def places_together(sizes: npt.NDArray[np.intp], reference_rows: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the places of windows of so many rows that are measured together: no array gets too many cells."""
    start, rows = 0, 0
    for place, size in enumerate(sizes):
        rows += int(size)
        if place > start and (rows + reference_rows) * (place + 1 - start) > _MAX_CELLS:
            yield np.arange(start, place)
            start, rows = place, int(size)
    if start < len(sizes):
        yield np.arange(start, len(sizes))


def _measure_rows(
    rows: pd.DataFrame, counts: Counts, min_rows: int, *, model: Model, reference: pd.DataFrame
) -> dict[Name, Measured]:
    """Measure what needs no label."""
    methods = {column: method for column, method in model.methods.items() if column != LABEL}
    found = _drifts(rows, counts, min_rows, methods, reference)
    found |= _means(rows, counts, model) | _answers(PREDICTION, rows, counts, reference)
    return found | _quality(rows, counts, model.features)


def _measure_labels(
    rows: pd.DataFrame, counts: Counts, min_labels: int, *, model: Model, reference: pd.DataFrame
) -> dict[Name, Measured]:
    """Measure what needs labels; each row has one."""
    found = _errors(rows, counts, model.calibration) | _answers(LABEL, rows, counts, reference)
    methods = {column: method for column, method in model.methods.items() if column == LABEL}
    return found | _drifts(rows, counts, min_labels, methods, reference)


def _drifts(
    rows: pd.DataFrame, counts: Counts, min_rows: int, methods: Mapping[str, DriftMethod], reference: pd.DataFrame
) -> dict[Name, Measured]:
    """Measure the drift of each column that has a method."""
    return {
        Name(_DRIFT_NAMES.get(column, "data_drift"), column): _drift(
            method, reference[column], rows[column], counts, min_rows
        )
        for column, method in methods.items()
    }


def _drift(method: DriftMethod, reference: pd.Series, column: pd.Series, counts: Counts, min_rows: int) -> Measured:
    distances = build_statistic(method, reference, column).distances(counts)
    present = np.asarray(column.notna().to_numpy(dtype=np.float32) @ counts, dtype=np.float64)
    return Measured(np.where(present >= min_rows, distances, np.nan), present)


def _means(rows: pd.DataFrame, counts: Counts, model: Model) -> dict[Name, Measured]:
    found = {}
    for feature in number_features(model.features):
        known = model.reference[feature.name].dropna().to_numpy(dtype=np.float64)
        if len(known):
            values = in_deviations(rows[feature.name].to_numpy(dtype=np.float64), known)
            found[Name("mean", feature.name)] = _mean(values, counts)
    return found


def _answers(column: str, rows: pd.DataFrame, counts: Counts, reference: pd.DataFrame) -> dict[Name, Measured]:
    """Return the share of each class, or the mean number, among predictions or labels."""
    names = [str(name) for name in reference if str(name).startswith(PROBABILITY_PREFIX)]
    if not names:
        return {Name(f"{column}_mean", None): _mean(rows[column].to_numpy(dtype=np.float64), counts)}
    return {
        Name(f"{column}_share", name): _mean(np.asarray(rows[column] == name, dtype=np.float64), counts)
        for name in (one.removeprefix(PROBABILITY_PREFIX) for one in names)
    }


def _mean(values: Numbers, counts: Counts) -> Measured:
    """Return the mean of the values that are there in each window, NaN where none is, and its rows."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, values, 0.0) @ counts / (present.astype(np.float64) @ counts)
    return Measured(mean, np.asarray(counts.sum(axis=0), dtype=np.float64))


def _quality(rows: pd.DataFrame, counts: Counts, features: tuple[Feature, ...]) -> dict[Name, Measured]:
    found = {}
    sizes = np.asarray(counts.sum(axis=0), dtype=np.float64)
    for feature in features:
        encoding, present = encoding_of(feature), rows[feature.name].notna()
        present_rows = np.asarray(present.to_numpy(dtype=np.float32) @ counts, dtype=np.float64)
        found[Name("missing_share", feature.name)] = Measured(1 - present_rows / sizes, sizes)
        if encoding.has_range(feature):
            outside = (encoding.outside_training(rows[feature.name], feature) & present).to_numpy(dtype=np.float32)
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.asarray((outside @ counts) / present_rows, dtype=np.float64)
            found[unseen_share_of(feature)] = Measured(share, present_rows)
        if encoding.is_number:
            found[Name("stuck_share", feature.name)] = stuck_shares(rows[feature.name], counts, present_rows)
    return found


def stuck_shares(column: pd.Series, counts: Counts, present_rows: Numbers) -> Measured:
    """Return the share of the most common number among the values of each window."""
    values, places = np.unique(column.to_numpy(dtype=np.float64), return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(np.isfinite(values).sum()))
    if not len(starts):
        return Measured(np.full(counts.shape[1], np.nan), present_rows)
    known = order[np.isfinite(values[places[order]])]
    most = np.add.reduceat(counts[known], starts, axis=0).max(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Measured(np.asarray(most / present_rows, dtype=np.float64), present_rows)


def _errors(
    rows: pd.DataFrame, counts: Counts, calibration: Calibration | ErrorCalibration | None, *, gathered: bool = True
) -> dict[Name, Measured]:
    """Measure the errors; without `gathered`, only what a check judges by one window."""
    weights = counts.astype(np.float64)
    if not isinstance(calibration, ErrorCalibration):
        return _class_errors(rows, weights, calibration, gathered=gathered)
    predictions = rows[PREDICTION].to_numpy(dtype=np.float64)
    errors = regression_drift(number_errors(rows), expected_regression_errors(calibration, predictions), weights)
    found = {
        "concept_size_z": errors.absolute_z,
        "concept_size_gap": errors.absolute_gap,
        "concept_bias_z": errors.bias_z,
        "concept_bias_gap": errors.bias_gap,
        "observed_bias": errors.observed_bias,
        "mean_absolute_error": errors.observed_error,
    }
    labels = weights.sum(axis=0)
    return {Name(name, None): Measured(values, labels) for name, values in found.items()}


def _class_errors(
    rows: pd.DataFrame, weights: Numbers, calibration: Calibration | None, *, gathered: bool
) -> dict[Name, Measured]:
    """Return accuracy and recalls, and concept drift on the rows whose prediction has probabilities."""
    wrong = wrong_predictions(rows).astype(np.float64)
    labels = weights.sum(axis=0)
    # not 1 - error: of 0.07 that is less than 0.93
    found = {Name("accuracy", None): Measured((1 - wrong) @ weights / labels, labels)} | _recalls(rows, wrong, weights)
    expected = error_chances(rows, calibration)
    known = np.isfinite(expected)
    if not known.any():
        return found
    if not known.all():
        rows, wrong, expected, weights = rows[known], wrong[known], expected[known], weights[known]
        labels = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        drift = classification_drift(wrong, expected, weights)
    concept = {"concept_z": drift.z, "concept_gap": drift.gap}
    if gathered:
        chances, codes = chances_and_labels(rows)
        of_model = codes >= 0
        concept["flipped_share"] = flipped_share(wrong, expected, weights, chances.shape[1])
        concept["random_label_share"] = random_label_share(chances[of_model], codes[of_model], weights[of_model])
    return {Name(name, None): Measured(values, labels) for name, values in concept.items()} | found


def _recalls(rows: pd.DataFrame, wrong: Numbers, weights: Numbers) -> dict[Name, Measured]:
    """Return the recall of each class that the labels of any window have."""
    found, labels = {}, rows[LABEL].to_numpy(dtype=object)
    for name in pd.unique(labels):
        of_class = labels == name
        sizes = weights[of_class].sum(axis=0)
        with np.errstate(invalid="ignore"):
            values = (1 - wrong[of_class]) @ weights[of_class] / sizes
        found[Name("recall_by_class", str(name))] = Measured(np.asarray(values), sizes)
    return found


def _sampled(reference: pd.DataFrame) -> pd.DataFrame:
    return reference if len(reference) <= MAX_REFERENCE_ROWS else reference.sample(MAX_REFERENCE_ROWS, random_state=0)
