"""Evidently metric of concept drift: whether the model errs as often as its own probabilities promise."""

from typing import NamedTuple

import numpy as np
from evidently import Dataset
from evidently.core.metric_types import ByLabelMetric, ByLabelValue
from numpy.typing import NDArray

from evidently_workspace.both_sides import ConceptCalculation

Floats = NDArray[np.float64]


class ConceptGap(NamedTuple):
    """How far the errors are from the expected ones; shares of rows, except `z`, in standard deviations."""

    observed_error: float
    expected_error: float
    gap: float
    z: float


def measure_gap(error: Floats, expected_error: Floats) -> ConceptGap:
    """Compare errors (0 or 1, one per row) with the chance of each (above 0 and below 1).

    gap = mean(error - expected); z = sum(error - expected) / sqrt(sum(expected * (1 - expected))), which is
    about standard normal while errors are independent and happen with the expected chances (Spiegelhalter's
    test of calibration, Statistics in Medicine 5, 1986, with the error as the event).
    """
    excess = float(np.sum(error - expected_error))
    return ConceptGap(
        float(np.mean(error)), float(np.mean(expected_error)), excess / len(error), excess / spread(expected_error)
    )


def spread(expected_error: Floats) -> float:
    """Return the standard deviation of the number of errors when each happens with its expected chance."""
    return float(np.sqrt(np.sum(expected_error * (1 - expected_error))))


class ConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """The fields of ConceptGap as labels; `error` and `expected_error` name numerical columns."""

    error: str
    expected_error: str


class ConceptDriftCalculation(ConceptCalculation[ConceptDrift]):
    """Calculates ConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        error, expected = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.error, self.metric.expected_error)
        )
        return self.result(measure_gap(error, expected)._asdict())
