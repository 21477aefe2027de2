"""Concept drift: how far the errors of windows are above those that training lets expect."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.statistics.calibration import ExpectedErrors
from model.statistics.windows import Counts, Numbers


class ClassificationDrift(NamedTuple):
    """Errors of windows beside the expected ones, (windows,) each; shares of rows, except the last two."""

    observed_error: Numbers
    expected_error: Numbers
    gap: Numbers
    z: Numbers
    """The gap in standard deviations."""
    deviation: Numbers
    """Standard deviation of the number of errors, if each happens with its expected chance."""


def classification_drift(wrong: Numbers, expected: Numbers, counts: Counts) -> ClassificationDrift:
    """Compare the errors of a classifier in each window with the expected ones.

    `wrong` (rows,) or (rows, windows) says whether each row's prediction is an error, 1 or 0; `expected` (rows,) is the
    calibrated chance of that, above 0 and below 1; `counts` (rows, windows) has labelled rows only. With e and ê for
    the first two, gap = mean(e - ê) and z = sum(e - ê) / sqrt(sum ê(1 - ê)). While errors are independent and happen
    with the expected chances, z is about standard normal: it is the score test of calibration (Spiegelhalter 1986,
    Statistics in Medicine 5(5), gives its kin for the Brier score).
    """
    errors, chances = wrong.astype(counts.dtype), expected.astype(counts.dtype)
    rows = counts.sum(axis=0)
    observed = np.einsum("rw,rw->w", counts, errors) if errors.ndim == 2 else errors @ counts
    promised = chances @ counts
    deviation = np.sqrt((expected * (1 - expected)).astype(counts.dtype) @ counts)
    excess = observed - promised
    parts = (observed / rows, promised / rows, excess / rows, excess / deviation, deviation)
    return ClassificationDrift(*(np.asarray(part, np.float64) for part in parts))


_SUREST = 0.05


def flipped_share(wrong: Numbers, expected: Numbers, counts: Counts, classes: int) -> Numbers:
    """Return the share of labels that look as if another class had been put in their place at random, (windows,).

    Arguments as for `classification_drift`. A share f of such labels makes an error of chance ê one of chance
    ê + f h, with h = 1 - ê k / (k - 1) for k classes. With weights w = h / (ê (1 - ê)) the estimate
    sum((e - ê) w) / sum(h w) is one step of the maximum likelihood of f from 0. It looks most at predictions that the
    model is sure of, whose errors bad days raise least; so that no single one decides, w takes no chance below 0.05.
    It is below 0 where the model errs less than expected.
    """
    errors, chances, weights = (one.astype(np.float64) for one in (wrong, expected, counts))
    bounded, per_class = np.clip(chances, _SUREST, 1 - _SUREST), classes / (classes - 1)
    of_row = (1 - bounded * per_class) / (bounded * (1 - bounded))
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = (of_row * (1 - chances * per_class)) @ weights
        return np.asarray((of_row * (errors - chances)) @ weights / effect)


class RegressionDrift(NamedTuple):
    """Errors of windows beside the expected ones, (windows,) each; in the unit of the target, `..._z` in deviations.

    `absolute` is of the absolute error, `bias` of the error to either side. `..._deviation` is the standard deviation
    of the sum of either, if errors come as expected.
    """

    observed_error: Numbers
    expected_error: Numbers
    observed_bias: Numbers
    expected_bias: Numbers
    absolute_gap: Numbers
    absolute_z: Numbers
    bias_gap: Numbers
    bias_z: Numbers
    absolute_deviation: Numbers
    bias_deviation: Numbers

    @property
    def gap(self) -> Numbers:
        """Return the larger one of the two gaps."""
        return np.maximum(self.absolute_gap, self.bias_gap)

    @property
    def z(self) -> Numbers:
        """Return the larger one of the two z, for which training calibrates the threshold."""
        return np.maximum(self.absolute_z, self.bias_z)


def regression_drift(errors: Numbers, expected: ExpectedErrors, counts: Counts) -> RegressionDrift:
    """Compare the errors of a regressor in each window with the expected ones.

    `errors` (rows,) are prediction - label; `counts` (rows, windows) has labelled rows only. With r for these errors,
    m and s their expected mean and standard deviation, a and v those of |r|: absolute_gap = mean(|r| - a) and
    absolute_z = sum(|r| - a) / sqrt(sum v^2); bias_gap = |mean(r - m)| and bias_z = |sum(r - m)| / sqrt(sum s^2).
    While errors come as they did in training, each sum over its root is about standard normal. The first part sees
    that the model errs more, the second that it errs to one side, as when all labels move by the same amount, which
    changes |r| in second order only.
    """
    weights = counts.astype(np.float64)
    rows = weights.sum(axis=0)
    absolute = np.abs(errors)
    excess = (absolute - expected.absolute) @ weights
    bias = np.abs((errors - expected.mean) @ weights)
    absolute_deviation = np.sqrt(expected.absolute_deviation**2 @ weights)
    bias_deviation = np.sqrt(expected.deviation**2 @ weights)
    return RegressionDrift(
        observed_error=absolute @ weights / rows,
        expected_error=expected.absolute @ weights / rows,
        observed_bias=errors @ weights / rows,
        expected_bias=expected.mean @ weights / rows,
        absolute_gap=excess / rows,
        absolute_z=excess / absolute_deviation,
        bias_gap=bias / rows,
        bias_z=bias / bias_deviation,
        absolute_deviation=absolute_deviation,
        bias_deviation=bias_deviation,
    )


def smallest_alarming_z(
    threshold: float, gap_floor: float, rows: npt.NDArray[np.floating] | int, deviation: Numbers
) -> Numbers:
    """Return the z from which windows with that many labelled rows alarm, (windows,).

    An alarm needs a z of the threshold and a gap of the floor. The gap is z times the deviation of the sum divided by
    the rows, so both conditions hold where z reaches the larger of two bounds.
    """
    return np.maximum(threshold, gap_floor * rows / deviation)
