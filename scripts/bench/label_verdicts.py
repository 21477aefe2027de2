"""What a snapshot would say of the labels in many windows at once: concept drift and performance, by kind of model."""

from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evidently_workspace.bounds import lowest_share
from evidently_workspace.number_bound import highest_mean_absolute_error
from model.held_out import error_chances, number_errors, wrong_predictions
from model.manifest import PREDICTION, ClassifierManifest, RegressorManifest
from model.quiet_statistics import concept_gap_and_z, expected_number_errors, number_surplus

Counts = NDArray[np.float32]
Fired = NDArray[np.bool_]


class LabelVerdicts(Protocol):
    """Says of windows, counts (rows, windows) of rows that all have their labels, which fail."""

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift."""

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""


class ClassVerdicts:
    """Of a model that tells classes apart."""

    def __init__(self, manifest: ClassifierManifest, reference: pd.DataFrame, rows: pd.DataFrame) -> None:
        self._manifest = manifest
        self._wrong = wrong_predictions(rows).astype(np.float64)
        self._expected = error_chances(rows, manifest.calibration)
        self._known_correct = manifest.quality.correct + int((~wrong_predictions(reference)).sum())
        self._known_rows = manifest.quality.rows + len(reference)

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift."""
        gap, z = concept_gap_and_z(self._wrong, self._expected, counts)
        limit = self._manifest.concept_threshold
        return np.asarray((z >= limit.at(_rows(counts))) & (gap >= limit.gap_floor))

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""
        rows, rate = _rows(counts), self._manifest.false_alarm_rate
        right = (1 - self._wrong) @ counts.astype(np.float64)
        return np.asarray(np.round(right) / rows < lowest_share(self._known_correct, self._known_rows, rows, rate))


class NumberVerdicts:
    """Of a model that predicts a number."""

    def __init__(self, manifest: RegressorManifest, reference: pd.DataFrame, rows: pd.DataFrame) -> None:
        self._manifest = manifest
        self._reference = reference
        self._errors = number_errors(rows)
        self._expected = expected_number_errors(manifest.calibration, rows[PREDICTION].to_numpy(dtype=np.float64))

    def concept(self, counts: Counts) -> Fired:
        """Return which windows fail the check of concept drift: in the size of the errors, or in their bias."""
        found = number_surplus(self._errors, self._expected, counts)
        limit = self._manifest.concept_threshold
        least, floor = limit.at(_rows(counts)), limit.gap_floor
        size = (found.size_z >= least) & (found.size_gap >= floor)
        return np.asarray(size | ((found.bias_z >= least) & (found.bias_gap >= floor)))

    def performance(self, counts: Counts) -> Fired:
        """Return which windows fail the check of performance."""
        mean = np.abs(self._errors) @ counts.astype(np.float64) / _rows(counts)
        return np.asarray(mean > highest_mean_absolute_error(_rows(counts), self._reference, self._manifest))


def _rows(counts: Counts) -> int:
    return int(counts[:, 0].sum())
