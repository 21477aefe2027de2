"""Evidently metric of concept drift of a model of numbers: whether it errs as far, and to the side, that it used to."""

from typing import Any, NamedTuple

import numpy as np
from evidently import Dataset
from evidently.core.metric_types import ByLabelMetric, ByLabelValue
from numpy.typing import NDArray

from evidently_workspace.both_sides import ConceptCalculation
from evidently_workspace.number_frames import ERROR, EXPECTED_MEAN, EXPECTED_SIZE, EXPECTED_SPREAD, SIZE_SPREAD

Floats = NDArray[np.float64]


class NumberGap(NamedTuple):
    """How far the errors are from the expected ones; in the unit of the target, `..._z` in standard deviations.

    `size` is of the absolute error, which an alarm looks at upwards alone; `bias` is of the error, to either side.
    """

    observed_error: float
    expected_error: float
    observed_bias: float
    expected_bias: float
    size_gap: float
    size_z: float
    bias_gap: float
    bias_z: float

    @property
    def gap(self) -> float:
        """The larger one of the two gaps."""
        return max(self.size_gap, self.bias_gap)

    @property
    def z(self) -> float:
        """The larger one of the two z, for which training calibrates the threshold."""
        return max(self.size_z, self.bias_z)


class Expected(NamedTuple):
    """What the calibration lets expect of each row (rows,): of the error, and of its absolute value."""

    mean: Floats
    spread: Floats
    size: Floats
    size_spread: Floats


def measure_number_gap(error: Floats, expected: Expected) -> NumberGap:
    """Compare the errors (rows,), prediction - label, with the expected ones.

    With r the error, m and s its expected mean and spread, a and v those of |r|: size_z = sum(|r| - a) /
    sqrt(sum v^2), bias_z = |sum(r - m)| / sqrt(sum s^2); the gaps are the same two sums divided by the rows. While
    errors come as they did in training, each sum over its root is about standard normal. A shift of all labels moves
    |r| in second order only, so the bias is looked at for itself.
    """
    size_excess, bias_excess = float(np.sum(np.abs(error) - expected.size)), abs(float(np.sum(error - expected.mean)))
    return NumberGap(
        observed_error=float(np.mean(np.abs(error))),
        expected_error=float(np.mean(expected.size)),
        observed_bias=float(np.mean(error)),
        expected_bias=float(np.mean(expected.mean)),
        size_gap=size_excess / len(error),
        size_z=size_excess / spread_of_sum(expected.size_spread),
        bias_gap=bias_excess / len(error),
        bias_z=bias_excess / spread_of_sum(expected.spread),
    )


def spread_of_sum(spread: Floats) -> float:
    """Return the standard deviation of the sum of independent values with these standard deviations."""
    return float(np.sqrt(np.sum(spread**2)))


def expected_of(frame: Any) -> Expected:
    """Return the columns of `judged_numbers` that say what was expected."""
    names = (EXPECTED_MEAN, EXPECTED_SPREAD, EXPECTED_SIZE, SIZE_SPREAD)
    return Expected(*(frame[name].to_numpy("float64") for name in names))


class NumberConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """The fields of NumberGap as labels, with `gap` and `z`; the data have the columns of `judged_numbers`."""


class NumberConceptDriftCalculation(ConceptCalculation[NumberConceptDrift]):
    """Calculates NumberConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        frame = dataset.as_dataframe()
        found = measure_number_gap(frame[ERROR].to_numpy("float64"), expected_of(frame))
        return self.result(found._asdict() | {"gap": found.gap, "z": found.z})
