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


_LEAST_CHANCE = 0.005
_SHIFTED_CLASSES = 20  # the commonest ones: a shift of its own for each of a thousand would take a while
_SHIFT_PRECISION, _SHARE_PRECISION = 0.25, 4.0  # of normal distributions around 0: a shift of 2, a share of one half
_STEPS, _CONVERGED = 25, 1e-6


def random_label_share(probabilities: Numbers, codes: npt.NDArray[np.integer], counts: Counts) -> Numbers:
    """Return the share of labels that look drawn at random, beside what a day does to each class, (windows,).

    `probabilities` (rows, classes) are the model's, `codes` (rows,) the classes of the labels, `counts` has labelled
    rows only. On a bad day some class is more frequent than the model says, whoever is asked; labels that another class
    has replaced at random are also wrong where the model is sure of the contrary. So each window first gets a shift of
    each class's log probability, fitted to its labels. With q the probabilities after that and k classes, a share f of
    replaced labels makes q into q + f ((1 - q) / (k - 1) - q); f is estimated by one step of its likelihood from 0, in
    the direction that no shift imitates (Neyman's efficient score). No q is taken to be below 0.05, so that no single
    label decides; normal priors keep small windows near 0.
    """
    return np.array([_random_share(probabilities, codes, counts[:, place]) for place in range(counts.shape[1])])


def _random_share(probabilities: Numbers, codes: npt.NDArray[np.integer], counts: npt.NDArray[np.floating]) -> float:
    held = np.flatnonzero(counts)
    if not len(held):
        return float("nan")
    weights, codes = counts[held].astype(np.float64), codes[held]
    bounded = np.clip(probabilities[held], _LEAST_CHANCE, 1.0)
    classes = bounded.shape[1]
    shifted = np.argsort(-(weights @ bounded), kind="stable")[:_SHIFTED_CLASSES]
    seen = np.bincount(codes, weights, minlength=classes).astype(np.float64)
    chances = _after_shifts(bounded, weights, seen, shifted)
    replaced = (1 - chances) / (classes - 1) - chances
    cautious = np.clip(chances, _SUREST, None)
    score = (1 - cautious) / (classes - 1) / cautious - 1
    score -= (chances * score).sum(axis=1, keepdims=True)
    excess = (seen - weights @ chances)[shifted]
    imitated = np.linalg.solve(_information(chances[:, shifted], weights), (weights @ (chances * score))[shifted])
    found = weights @ score[np.arange(len(held)), codes] - imitated @ excess
    effect = weights @ (replaced * score).sum(axis=1) - imitated @ (weights @ replaced)[shifted]
    return float(found / (effect + _SHARE_PRECISION))


def _after_shifts(chances: Numbers, weights: Numbers, seen: Numbers, shifted: npt.NDArray[np.integer]) -> Numbers:
    """Return the probabilities after shifts of some classes that fit how often each class was seen."""
    shifts = np.zeros(chances.shape[1])
    found: Numbers = np.asarray(chances / chances.sum(axis=1, keepdims=True))
    for _ in range(_STEPS):
        slope = seen[shifted] - weights @ found[:, shifted] - _SHIFT_PRECISION * shifts[shifted]
        step = np.linalg.solve(_information(found[:, shifted], weights), slope)
        shifts[shifted] += np.clip(step, -1.0, 1.0)
        raised = chances * np.exp(shifts)
        found = np.asarray(raised / raised.sum(axis=1, keepdims=True))
        if np.abs(step).max() < _CONVERGED:
            break
    return found


def _information(chances: Numbers, weights: Numbers) -> Numbers:
    """Return what labels say of the shifts: the negative second derivative of their likelihood."""
    weighted = chances * weights[:, None]
    return np.diag(weighted.sum(axis=0) + _SHIFT_PRECISION) - weighted.T @ chances


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
