"""The values of a snapshot on many windows at once, cut in time, without Evidently."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.alarms.window_segments import Segments, measure_segments
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
from model.statistics.segments import divided_by
from model.statistics.windows import Counts, CutRows, Measured, Numbers, TimedRows
from model.training.out_of_fold import chances_and_labels, error_chances, number_errors, wrong_predictions

MIN_ROWS = 30
"""As in the API's settings: with fewer rows, or values of a column, a snapshot says "not enough data"."""
MAX_REFERENCE_ROWS = 20_000
"""As many rows as a snapshot measures: the error of a distance from sampling more is far below the floors."""

_DRIFT_NAMES = {PREDICTION: "prediction_drift", LABEL: "target_drift"}


class Name(NamedTuple):
    """What a snapshot calls a value."""

    name: str
    column: str | None


@dataclass(frozen=True)
class Model:
    """What the statistics of a window need to know of a model; `segments` are the columns of `divided_by`."""

    features: tuple[Feature, ...]
    methods: Mapping[str, DriftMethod]
    calibration: Calibration | ErrorCalibration | None
    reference: pd.DataFrame
    segments: Mapping[str, str] = field(default_factory=dict)


def unseen_share_of(feature: Feature) -> Name:
    """Return the name of the share of values that training has not seen."""
    return Name("out_of_range_share" if encoding_of(feature).is_number else "new_category_share", feature.name)


def model_of(manifest: Manifest, reference: pd.DataFrame) -> Model:
    """Return what the statistics of a window need to know of an artifact."""
    methods = {threshold.column: threshold.method for threshold in manifest.thresholds}
    segments = divided_by(manifest.segments, manifest.feature_names)
    return Model(manifest.features, methods, manifest.calibration, reference, segments)


class Windows(NamedTuple):
    """Windows of one length: start in seconds since the epoch, number of rows, and values, (windows,) each.

    `sizes` say on how many rows, values or labels each value was measured. `segments` are those of each window; none
    where rows are not divided.
    """

    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: dict[Name, Numbers]
    sizes: dict[Name, Numbers]
    segments: Segments = ()


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
    segment_drift: bool = False,
) -> Windows:
    """Cut rows into windows that end on multiples of the interval in UTC, and measure each.

    `seconds` (rows,) are the times at which the rows were predicted, since the epoch. `labelled` are the rows whose
    label arrived, each at the time of its arrival; without them, the label of a row is taken to arrive with the row.
    A row without a label, or a frame without labels, counts for nothing that needs one. Windows with fewer than
    `min_rows` rows and `min_labels` labels (by default as many) are left out; a value that a window does not have is
    NaN. With `segment_drift` segments are compared with the reference, too.
    """
    labelled = _with_labels(TimedRows(rows, seconds) if labelled is None else labelled)
    reference = _sampled(model.reference)
    predicted = CutRows.of(TimedRows(rows, seconds), interval_seconds, min_rows)
    arrived = CutRows.of(labelled, interval_seconds, min_rows if min_labels is None else min_labels)
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
        measure_segments(
            predicted.windows(numbers),
            arrived.windows(numbers),
            model.reference,
            model.segments,
            class_names_of(reference),
            method=model.methods.get(PREDICTION) if segment_drift else None,
            estimates=estimates,
        ),
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


def _estimated(
    cut: CutRows, numbers: npt.NDArray[np.int64], model: Model, estimates: Estimates, interval_seconds: int
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
