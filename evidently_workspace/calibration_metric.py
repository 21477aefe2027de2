"""Evidently metric of calibration: whether predictions are right as often as their probabilities say."""

from typing import Any

import numpy as np
from evidently import Dataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10


def calibration_error(probability: Floats, correct: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error of the predicted classes, between 0 and 1.

    `probability` is that of the predicted class, `correct` 1 where it was right, else 0; one per row. Rows are
    cut by probability into `bins` bins of equal size, fewer where probabilities repeat, because equal ones share
    a bin; the error is the mean over the rows of |share correct - mean probability| of their bin. It is never
    negative, so chance alone makes it larger the fewer the rows. Source: Naeini, Cooper and Hauskrecht, AAAI
    2015; bins of equal size: Nixon et al., CVPR workshops 2019.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of_row = np.searchsorted(edges, probability, side="right")
    excess = np.bincount(bin_of_row, weights=correct - probability)
    return float(np.abs(excess).sum() / len(probability))


class CalibrationError(SingleValueMetric):  # type: ignore[misc]  # Evidently ships no types
    """The expected calibration error; `probability` and `correct` name numerical columns."""

    probability: str
    correct: str


class CalibrationErrorCalculation(SingleValueCalculation[CalibrationError]):  # type: ignore[misc]
    """Calculates CalibrationError on the window, and on the reference beside it."""

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, SingleValue | None]:
        """Return the results of the window and of the reference."""
        del context
        return self._measure(current_data), None if reference_data is None else self._measure(reference_data)

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Calibration error"

    def _measure(self, dataset: Dataset) -> SingleValue:
        probability, correct = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.probability, self.metric.correct)
        )
        return self.result(calibration_error(probability, correct))
