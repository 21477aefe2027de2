"""Calibration curves: the chance that a predicted class is wrong, and the expected error of a predicted number."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from model.artifact.manifest import Calibration, ErrorCalibration
from model.statistics.windows import Numbers

Right = npt.NDArray[np.bool_]

_FOLDS = 5
_REPEATS = 4
_KNOTS = 65
_MAX_ISOTONIC_KNOTS = 400
_NEAREST_TO_CERTAIN = 0.005  # half a vote of a forest of 100 trees; the logarithm of odds needs a bound
_MIN_ISOTONIC_ROWS = 1_000

Fit = Callable[[Numbers, Right], tuple[Numbers, Numbers]]


def fit_calibration(probabilities: Numbers, right: Right, rng: np.random.Generator) -> Calibration:
    """Return the calibration fitted on out-of-fold rows.

    `probabilities` (rows,) are those of the predicted classes, `right` (rows,) whether these were the true ones;
    no row may come from a model that was fitted on it. Two fits compete by cross-validated log loss: logistic
    (Platt 1999, "Probabilistic outputs for support vector machines", with his targets, which amount to one more
    row of each outcome and so keep data without a single error finite; on the log odds, as in temperature
    scaling) and isotonic (Zadrozny and Elkan 2002, KDD). The latter needs about 1,000 rows before its freedom
    pays (Niculescu-Mizil and Caruana 2005, ICML), so with fewer it does not compete: its many steps fit noise.
    Every chance is held within [1/(rows + 2), 1 - 1/(rows + 2)], Laplace's rule of succession for rows that are
    all right or all wrong: nothing seen `rows` times is known to be certain.
    """
    fits: dict[str, Fit] = {"logistic": _logistic}
    if len(probabilities) >= _MIN_ISOTONIC_ROWS:
        fits["isotonic"] = _isotonic
    losses = (
        {
            name: _out_of_fold_loss(fit, probabilities, right, np.random.default_rng(rng.integers(2**32)))
            for name, fit in fits.items()
        }
        if len(fits) > 1
        else {"logistic": 0.0}
    )
    method = min(losses, key=losses.__getitem__)
    knots, calibrated = fits[method](probabilities, right)
    return Calibration(
        probabilities=tuple(knots.tolist()),
        calibrated=tuple(_held_within(calibrated, len(probabilities)).tolist()),
        rows=len(probabilities),
        method="isotonic" if method == "isotonic" else "logistic",
    )


def expected_errors(calibration: Calibration | None, probabilities: Numbers) -> Numbers:
    """Return the chance of each prediction to be wrong, (rows,), from the probability of its class; NaN if unknown."""
    if calibration is None:
        return np.full(len(probabilities), np.nan)
    return 1 - np.interp(probabilities, calibration.probabilities, calibration.calibrated)


class ExpectedErrors(NamedTuple):
    """What is expected of prediction - label, and of its absolute value, of each row, (rows,) each."""

    mean: Numbers
    deviation: Numbers
    absolute: Numbers
    absolute_deviation: Numbers

    def of_rows(self, rows: npt.NDArray[np.intp]) -> "ExpectedErrors":
        """Return what is expected of these rows."""
        return ExpectedErrors(*(values[rows] for values in self))


def expected_regression_errors(calibration: ErrorCalibration, predictions: Numbers) -> ExpectedErrors:
    """Return what is expected of the errors of predicted numbers, (rows,): means and standard deviations."""
    curves = (
        calibration.mean_error,
        calibration.error_spread,
        calibration.absolute_error,
        calibration.absolute_spread,
    )
    return ExpectedErrors(*(np.interp(predictions, calibration.predictions, curve) for curve in curves))


def _held_within(calibrated: Numbers, rows: int) -> Numbers:
    bound = 1 / (rows + 2)
    return np.clip(calibrated, bound, 1 - bound)


def _logistic(probabilities: Numbers, right: Right) -> tuple[Numbers, Numbers]:
    rights = int(right.sum())
    wrongs = len(right) - rights
    # Platt's targets, as weights of the two outcomes of each row
    target = np.where(right, (rights + 1) / (rights + 2), 1 / (wrongs + 2))
    odds = _log_odds(probabilities)[:, None]
    model = LogisticRegression(C=1e6, max_iter=1_000)
    model.fit(
        np.concatenate([odds, odds]),
        np.repeat([1, 0], len(right)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    knots = np.linspace(0.0, 1.0, _KNOTS)
    if model.coef_[0, 0] <= 0:
        # a probability that says nothing: the mean rate for all, never a falling line
        return knots, np.full(_KNOTS, target.mean())
    return knots, np.asarray(model.predict_proba(_log_odds(knots)[:, None])[:, 1])


def _log_odds(probabilities: Numbers) -> Numbers:
    held = np.clip(probabilities, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    return np.asarray(np.log(held / (1 - held)))


def _isotonic(probabilities: Numbers, right: Right) -> tuple[Numbers, Numbers]:
    model = IsotonicRegression(out_of_bounds="clip").fit(probabilities, right.astype(np.float64))
    knots, calibrated = np.asarray(model.X_thresholds_, np.float64), np.asarray(model.y_thresholds_, np.float64)
    if len(knots) > _MAX_ISOTONIC_KNOTS:
        kept = np.unique(np.linspace(0, len(knots) - 1, _MAX_ISOTONIC_KNOTS).astype(int))
        knots, calibrated = knots[kept], calibrated[kept]
    if len(knots) == 1:
        return np.array([0.0, 1.0]), np.repeat(calibrated, 2)
    return knots, calibrated


def _out_of_fold_loss(fit: Fit, probabilities: Numbers, right: Right, rng: np.random.Generator) -> float:
    losses = []
    for _ in range(_REPEATS):
        folds = rng.permutation(len(right)) % _FOLDS
        for fold in range(_FOLDS):
            out = folds == fold
            knots, calibrated = fit(probabilities[~out], right[~out])
            chance = np.interp(probabilities[out], knots, _held_within(calibrated, int((~out).sum())))
            losses.append(-np.log(np.where(right[out], chance, 1 - chance)).mean())
    return float(np.mean(losses))


_ROWS_PER_KNOT = 40
_MAX_KNOTS = 8
_OUTER_SHARE = 0.02  # the end knots have this share of the rows beyond them, to which their values extend
_PRIOR_ROWS = 5.0  # rows that speak for the mean of all at each knot
_LOWEST = 0.05  # of the mean of all, below which no expected error or variance goes
_EXACT = 1e-3  # of the target's standard deviation: the deviation of the errors of a model that makes none


def fit_error_calibration(predictions: Numbers, errors: Numbers, standard_deviation: float) -> ErrorCalibration:
    """Return what was seen of errors on out-of-fold rows, by the number predicted.

    `predictions` and `errors` = prediction - label, both (rows,); no row may come from a model that was fitted on it.
    `standard_deviation` is the target's. The curves are linear splines through a knot for each 40 rows, at most 8, at
    quantiles of the predictions, fitted by least squares with a ridge towards the mean of all rows (as many more rows
    as `_PRIOR_ROWS` at each knot); expected |error| and variances are not negative. Each is then moved so that its mean
    over these rows is theirs: in a window in control the expected errors add up to the errors, but for sampling error.
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
    number = int(np.clip(len(predictions) // _ROWS_PER_KNOT, 2, _MAX_KNOTS))
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
