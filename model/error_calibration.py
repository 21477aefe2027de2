"""Turning a predicted number into how far off it is expected to be."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from model.manifest import ErrorCalibration

Numbers = npt.NDArray[np.float64]

_ROWS_PER_KNOT = 40
_MOST_KNOTS = 8
_OUTER_SHARE = 0.02  # the end knots have this share of the rows beyond them, to which their values extend
_PRIOR_ROWS = 5.0  # rows that speak for the mean of all at each knot
_LOWEST = 0.05  # of the mean of all, below which no expected error or variance goes
_EXACT = 1e-3  # of the target's standard deviation: the spread of a model without any error


def fit_error_calibration(predictions: Numbers, errors: Numbers, standard_deviation: float) -> ErrorCalibration:
    """Return what was seen of errors on held-out rows, by the number predicted.

    `predictions` and `errors` = prediction - label, both (rows,); no row may come from a model that was fitted on it.
    `standard_deviation` is the target's. The curves are linear splines through a knot for each 40 rows, at most 8, at
    quantiles of the predictions, fitted by least squares with a ridge towards the mean of all rows (as many more rows
    as `_PRIOR_ROWS` at each knot); expected |error| and variances are not negative. Each is then moved so that its mean
    over these rows is theirs: the expected errors of a quiet window add up to its errors but for luck.
    """
    knots = _knots(predictions)
    hats = _hats(predictions, knots)
    absolute = np.abs(errors)
    mean_error = _fitted(hats, errors, signed=True)
    absolute_error = _fitted(hats, absolute)
    variance = _fitted(hats, (errors - hats @ mean_error) ** 2)
    absolute_variance = _fitted(hats, (absolute - hats @ absolute_error) ** 2)
    least = (_EXACT * standard_deviation) ** 2
    return ErrorCalibration(
        predictions=tuple(knots.tolist()),
        mean_error=tuple(mean_error.tolist()),
        error_spread=tuple(np.sqrt(np.maximum(variance, least)).tolist()),
        absolute_error=tuple(absolute_error.tolist()),
        absolute_spread=tuple(np.sqrt(np.maximum(absolute_variance, least)).tolist()),
        rows=len(errors),
    )


def _knots(predictions: Numbers) -> Numbers:
    number = int(np.clip(len(predictions) // _ROWS_PER_KNOT, 2, _MOST_KNOTS))
    knots = np.unique(np.quantile(predictions, np.linspace(_OUTER_SHARE, 1 - _OUTER_SHARE, number)))
    if len(knots) == 1:
        return np.array([knots[0], knots[0] + max(1.0, abs(knots[0]))])
    return knots


def _hats(predictions: Numbers, knots: Numbers) -> Numbers:
    """Return the weight of each knot in the value at each prediction, (rows, knots)."""
    unit = np.eye(len(knots))
    return np.column_stack([np.interp(predictions, knots, row) for row in unit])


def _fitted(hats: Numbers, values: Numbers, *, signed: bool = False) -> Numbers:
    """Return the spline's value at each knot, (knots,)."""
    mean = float(values.mean())
    scale = float(np.abs(values).max())
    if scale == 0:
        return np.zeros(hats.shape[1])
    prior = np.sqrt(_PRIOR_ROWS) * np.eye(hats.shape[1])
    rows = np.vstack([hats, prior])
    wanted = np.concatenate([values, np.full(hats.shape[1], np.sqrt(_PRIOR_ROWS) * mean)]) / scale
    if signed:
        curve = np.linalg.lstsq(rows, wanted, rcond=None)[0] * scale
        return np.asarray(curve + (mean - (hats @ curve).mean()))
    curve = np.maximum(nnls(rows, wanted)[0] * scale, _LOWEST * mean)
    return np.asarray(curve * (mean / (hats @ curve).mean()))
