"""The checks of a snapshot on many windows at once: same statistics, same thresholds, no Evidently."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evidently_workspace.checks import CHECKS, CheckName
from model.alarms.window_values import stuck_shares
from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    ClassifierManifest,
    DriftThreshold,
    Manifest,
    RegressorManifest,
    WindowThreshold,
)
from model.data.encoding import encoding_of
from model.statistics.attribution import MAX_EXPLAINED_ROWS, NDCG_ALARM, attribution_distance, attribution_ndcg
from model.statistics.bounds import (
    commonest_values,
    highest_mean_absolute_error,
    highest_share,
    highest_stuck_share,
    lowest_accuracy,
    lowest_recall,
    quality_alarm_rate,
)
from model.statistics.calibration import expected_regression_errors
from model.statistics.concept import classification_drift, regression_drift, smallest_alarming_z
from model.statistics.drift import build_statistic
from model.training.out_of_fold import error_chances, number_errors, wrong_predictions

Counts = NDArray[np.float32]
Fired = NDArray[np.bool_]


class LabelVerdicts(Protocol):
    """Decides which windows fail; these are counts (rows, windows) of rows that all have their labels."""

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift."""

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""


class ClassificationVerdicts:
    """The verdicts of a classifier."""

    def __init__(self, manifest: ClassifierManifest, reference: pd.DataFrame, rows: pd.DataFrame) -> None:
        self._manifest = manifest
        self._wrong = wrong_predictions(rows).astype(np.float64)
        self._expected = error_chances(rows, manifest.calibration)
        self._labels = rows[LABEL].to_numpy(dtype=object)
        self._reference_right = ~wrong_predictions(reference)
        self._reference_labels = reference[LABEL].to_numpy(dtype=object)

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift."""
        found = classification_drift(self._wrong, self._expected, counts)
        return np.asarray(found.z >= _limits_of_z(self._manifest, counts, found.deviation))

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""
        right = (1 - self._wrong) @ counts.astype(np.float64)
        lowest = lowest_accuracy(_rows(counts), self._reference_right, self._manifest)
        fired = np.asarray(np.round(right) / _rows(counts) < lowest)
        for name in self._manifest.class_names:
            fired |= self._recall(name, counts)
        return fired

    def _recall(self, name: str, counts: Counts) -> Fired:
        of_class, known = self._labels == name, self._reference_right[self._reference_labels == name]
        labels = np.round(counts[of_class].sum(axis=0)).astype(np.int64)
        right = np.round((1 - self._wrong[of_class]) @ counts[of_class].astype(np.float64))
        sizes, places = np.unique(labels, return_inverse=True)
        lowest = np.array([lowest_recall(int(size), name, known, self._manifest) if size else 0.0 for size in sizes])
        return np.asarray(right / np.maximum(labels, 1) < lowest[places])


class RegressionVerdicts:
    """The verdicts of a regressor."""

    def __init__(self, manifest: RegressorManifest, reference: pd.DataFrame, rows: pd.DataFrame) -> None:
        self._manifest = manifest
        self._reference_errors = number_errors(reference)
        self._errors = number_errors(rows)
        self._expected = expected_regression_errors(manifest.calibration, rows[PREDICTION].to_numpy(dtype=np.float64))

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift: by the absolute errors, or by their bias."""
        found = regression_drift(self._errors, self._expected, counts)
        absolute = found.absolute_z >= _limits_of_z(self._manifest, counts, found.absolute_deviation)
        return np.asarray(absolute | (found.bias_z >= _limits_of_z(self._manifest, counts, found.bias_deviation)))

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""
        mean = np.abs(self._errors) @ counts.astype(np.float64) / _rows(counts)
        return np.asarray(mean > highest_mean_absolute_error(_rows(counts), self._reference_errors, self._manifest))


def _limits_of_z(manifest: Manifest, counts: Counts, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, threshold = _rows(counts), manifest.concept_threshold
    if threshold is None:
        raise ValueError("the model has no probabilities")
    return smallest_alarming_z(threshold.at(rows), threshold.gap_floor, rows, deviation)


def _rows(counts: Counts) -> int:
    return int(counts[:, 0].sum())


Phi = NDArray[np.float64]

MIN_VALUES = 30
"""As in the API's settings: with fewer a snapshot says "not enough data"."""


class VectorisedChecks:
    """Decides which checks fail in windows drawn from some rows.

    `rows` as in the log, each with its label; `phi` (rows, features) their attributions, None where the model has
    none. A window is a column of counts (rows, windows): how often it holds each row.
    """

    def __init__(self, manifest: Manifest, reference: pd.DataFrame, rows: pd.DataFrame, phi: Phi | None) -> None:
        self._manifest = manifest
        self._reference = reference
        self._rows = rows
        self._phi = phi
        self._columns = [
            (limit, build_statistic(limit.method, reference[limit.column], rows[limit.column]))
            for limit in manifest.thresholds
        ]
        self._labels: LabelVerdicts = (
            ClassificationVerdicts(manifest, reference, rows)
            if isinstance(manifest, ClassifierManifest)
            else RegressionVerdicts(manifest, reference, rows)
        )

    def fired(self, counts: Counts, rng: np.random.Generator) -> dict[CheckName, Fired]:
        """Return for each check which of the windows fail it, in the order of CHECKS."""
        none = np.zeros(counts.shape[1], dtype=bool)
        fired: dict[CheckName, Fired] = {
            "data_drift": none,
            "concept_drift": self._labels.concept(counts),
            "attribution_drift": none if self._phi is None else self._attributions(counts, rng),
            "data_quality": self._quality(counts),
            "performance": self._labels.performance(counts),
        }
        names = {PREDICTION: "prediction_drift", LABEL: "target_drift"}
        for limit, statistic in self._columns:
            check = names.get(limit.column, "data_drift")
            present = self._rows[limit.column].notna().to_numpy(dtype=np.float32) @ counts
            far = statistic.distances(counts) >= limits_at(limit, present)
            fired[check] = fired.get(check, none) | (far & (present >= MIN_VALUES))
        return {check.name: fired[check.name] for check in CHECKS if check.name in fired}

    def _attributions(self, counts: Counts, rng: np.random.Generator) -> Fired:
        known, limit = self._manifest.attributions, self._manifest.attribution_threshold
        if known is None or limit is None or self._phi is None:
            raise ValueError("the model has no attributions")
        rows = int(counts[:, 0].sum())
        if rows > MAX_EXPLAINED_ROWS:
            # the snapshot explains a random part of the window's rows
            picked = [rng.multivariate_hypergeometric(one, MAX_EXPLAINED_ROWS) for one in counts.T.astype(np.int64)]
            counts = np.array(picked, dtype=np.float32).T
        reference = np.array(list(known.mean_absolute.values()))
        means = counts.T.astype(np.float64) @ self._phi
        far = attribution_distance(reference, means) >= limit.at(rows)
        return np.asarray(far | (attribution_ndcg(reference, means) < NDCG_ALARM))

    def _quality(self, counts: Counts) -> Fired:
        rate = quality_alarm_rate(self._manifest)
        fired = np.zeros(counts.shape[1], dtype=bool)
        for feature in self._manifest.features:
            values, expected = self._rows[feature.name], self._reference[feature.name]
            encoding, present, known = encoding_of(feature), values.notna(), expected.dropna()
            missing = len(expected) - len(known)
            gaps = Shares(~present.to_numpy(), np.ones(len(values), dtype=bool))
            fired |= gaps.exceed(counts, partial(highest_share, missing, len(expected), alarm_rate=rate))
            strange = Shares((encoding.outside_training(values, feature) & present).to_numpy(), present.to_numpy())
            hits = int(encoding.outside_training(known, feature).sum())
            fired |= strange.exceed(counts, partial(highest_share, hits, len(known), alarm_rate=rate))
            if encoding.is_number:
                stuck = stuck_shares(values, counts, np.asarray(present.to_numpy(dtype=np.float64) @ counts))
                most, alike = commonest_values(known.to_numpy(dtype=np.float64))
                highest = partial(highest_stuck_share, most, alike, len(known), alarm_rate=rate)
                sizes, places = np.unique(stuck.sizes.astype(int), return_inverse=True)
                fired |= stuck.values > np.array([highest(int(size)) for size in sizes])[places]
        return fired


def limits_at(limit: DriftThreshold | WindowThreshold, rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the threshold of each window by its number of values."""
    sizes, places = np.unique(rows.astype(np.int64), return_inverse=True)
    return np.array([limit.at(int(size)) for size in sizes])[places]


@dataclass(frozen=True)
class Shares:
    """The share of some rows among others, in windows."""

    hits: Fired
    among: Fired

    def exceed(self, counts: Counts, allowed: Callable[..., float]) -> Fired:
        """Return for each window whether the share is above what is allowed for its number of rows."""
        if not self.hits.any():
            return np.zeros(counts.shape[1], dtype=bool)
        found, rows = (of.astype(np.float32) @ counts for of in (self.hits, self.among))
        sizes, places = np.unique(rows.astype(np.int64), return_inverse=True)
        bounds = np.array([allowed(window_rows=int(size)) if size else 1.0 for size in sizes])[places]
        return np.asarray(found / np.maximum(rows, 1) > bounds)
