"""Fits what estimated performance needs, on rows that the model was not fitted on."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from model.artifact.estimates import (
    CalibrationCurve,
    ClassEstimates,
    ErrorColumn,
    ErrorTrees,
    Estimates,
    Excess,
    Node,
    NumberEstimates,
    Score,
)
from model.artifact.manifest import LABEL, PREDICTION, Feature
from model.data.encoding import number_features
from model.statistics.estimation import (
    COVERAGE,
    Codes,
    Moments,
    answered,
    class_moments,
    codes_of,
    error_table,
    expected_errors,
    hat_weights,
    interval,
    log_odds,
    number_moments,
    true_class_scores,
    true_number_scores,
)
from model.statistics.windows import Numbers

LENGTHS = (3_600, 21_600, 86_400, 604_800)
"""Of the windows, in seconds, in which it is measured how far scores stray beyond chance."""
MIN_WINDOWS, MIN_ROWS = 20, 30
MAX_WINDOWS = 250
_KNOTS, _ROWS_PER_KNOT = 24, 40
_OUTER_SHARE = 0.01
_STIFFNESS = 1.0  # of the curve: what a second difference of log odds costs
_RIDGE = 1e-3
_FOLDS = 5
_MAX_ERROR_ROWS = 50_000
_LOWEST = 0.02  # of the mean of all, below which no expected error goes

Part = npt.NDArray[np.intp]


def fit_estimates(
    rows: pd.DataFrame,
    features: tuple[Feature, ...],
    class_names: tuple[str, ...] | None,
    seconds: Numbers | None = None,
) -> Estimates | None:
    """Return what the estimates need, from labelled rows as they are logged; None where these are too few.

    The model must not have been fitted on any of the rows with the answer that they hold. `seconds` (rows,) says when
    each happened, if that is known.
    """
    if class_names is None:
        known = np.isfinite(rows[[PREDICTION, LABEL]].to_numpy(dtype=np.float64)).all(axis=1)
        if known.sum() < MIN_ROWS:
            return None
        return fit_number_estimates(rows[known], features, None if seconds is None else seconds[known])
    probabilities, answers, kept = answered(rows, class_names)
    labels = codes_of(rows[LABEL], class_names)[kept]
    known = labels >= 0
    if known.sum() < MIN_ROWS:
        return None
    times = None if seconds is None else seconds[kept][known]
    return fit_class_estimates(probabilities[known], labels[known], answers[known], times)


def fit_class_estimates(
    probabilities: Numbers, labels: Codes, answers: Codes, seconds: Numbers | None = None
) -> ClassEstimates:
    """Return what the estimates of a classifier need.

    `probabilities` (rows, classes) are those that the model said, `labels` and `answers` (rows,) the places of the true
    and the answered classes. With times, five periods one after the other are each estimated from the other four:
    how far the scores of their windows stray from their estimates, beyond chance, widens the intervals.
    """
    whole = ClassEstimates(curves=_curves(probabilities, labels), rows=len(labels))
    if seconds is None:
        return whole

    folds = _folds(len(labels), seconds)
    of_folds = [_without(fold, probabilities, labels) for fold in folds]

    def moments(fold: int, window: Part) -> dict[str, Moments]:
        return class_moments(probabilities[window], answers[window], of_folds[fold])

    def truth(window: Part) -> dict[str, float]:
        return true_class_scores(probabilities[window], labels[window], answers[window])

    return whole.model_copy(update={"excess": _excess(folds, seconds, moments, truth)})


def _without(fold: Part, probabilities: Numbers, labels: Codes) -> ClassEstimates:
    others = np.setdiff1d(np.arange(len(labels)), fold)
    return ClassEstimates(curves=_curves(probabilities[others], labels[others]), rows=len(others))


def fit_number_estimates(
    rows: pd.DataFrame, features: tuple[Feature, ...], seconds: Numbers | None = None
) -> NumberEstimates:
    """Return what the estimates of a regressor need: its errors by features and prediction.

    As in NannyML's direct loss estimation, boosted trees learn the absolute and the squared error.
    """
    errors = (rows[PREDICTION] - rows[LABEL]).to_numpy(dtype=np.float64)
    every = np.arange(len(rows))
    folds = _folds(len(rows), seconds)
    absolute, squared = np.zeros(len(rows)), np.zeros(len(rows))
    for fold in folds:
        others = _number_estimates(rows, errors, features, np.setdiff1d(every, fold))
        absolute[fold], squared[fold] = expected_errors(rows.iloc[fold], others)
    factors = {
        "absolute_factor": _relative_variance(np.abs(errors), absolute),
        "squared_factor": _relative_variance(errors**2, squared),
    }
    whole = _number_estimates(rows, errors, features, every).model_copy(update=factors)
    if seconds is None:
        return whole
    excess = _excess(
        folds,
        seconds,
        lambda _fold, window: number_moments(absolute[window], squared[window], whole),
        lambda window: true_number_scores(errors[window]),
    )
    return whole.model_copy(update={"excess": excess})


def _folds(rows: int, seconds: Numbers | None) -> list[Part]:
    """Return five parts of the rows: periods one after the other, or random parts where there are no times."""
    order = np.random.default_rng(0).permutation(rows) if seconds is None else np.argsort(seconds, kind="stable")
    return np.array_split(order, _FOLDS)


def _excess(
    folds: Sequence[Part],
    seconds: Numbers,
    moments: Callable[[int, Part], dict[str, Moments]],
    truth: Callable[[Part], dict[str, float]],
) -> tuple[Excess, ...]:
    """Return how far windows of each length stray beyond chance."""
    found: dict[tuple[str, int], list[tuple[Moments, float]]] = {}
    for length in LENGTHS:
        for number, fold in enumerate(folds):
            for window in _windows(fold, seconds, length):
                expected, scores = moments(number, window), truth(window)
                for name in expected.keys() & scores.keys():
                    found.setdefault((name, length), []).append((expected[name], scores[name]))
    return tuple(
        Excess(score=name, interval_seconds=length, deviation=_beyond_chance(name, pairs), windows=len(pairs))
        for (name, length), pairs in sorted(found.items())
        if len(pairs) >= MIN_WINDOWS
    )


def _windows(fold: Part, seconds: Numbers, length: int) -> list[Part]:
    cuts = np.flatnonzero(np.diff(seconds[fold] // length)) + 1
    windows = [one for one in np.split(fold, cuts) if len(one) >= MIN_ROWS]
    step = max(1, -(-len(windows) * _FOLDS // MAX_WINDOWS))
    return windows[::step]


def _beyond_chance(name: Score | str, pairs: Sequence[tuple[Moments, float]]) -> float:
    """Return the smallest deviation with which the intervals hold as often as they say.

    One window more than there are has to be covered that often, as in split conformal prediction.
    """
    moments = [moments for moments, _ in pairs]
    truth = np.array([true for _, true in pairs])
    needed = min(int(np.ceil((len(pairs) + 1) * COVERAGE)), len(pairs))

    def holds(deviation: float) -> bool:
        found = interval(name, moments, deviation)
        return int(((found.low <= truth) & (truth <= found.high)).sum()) >= needed

    if holds(0.0):
        return 0.0
    low, high = 0.0, float(np.abs(truth - interval(name, moments, 0.0).value).max())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _curves(probabilities: Numbers, labels: Codes) -> tuple[CalibrationCurve, ...]:
    classes = probabilities.shape[1]
    places = [1] if classes == 2 else range(classes)
    return tuple(_curve(probabilities[:, place], labels == place) for place in places)


def _curve(probabilities: Numbers, happened: npt.NDArray[np.bool_]) -> CalibrationCurve:
    """Fit a logistic regression on a piecewise linear curve through quantiles of the log odds.

    Second differences of the curve cost a little, so that few rows give nearly a line. Platt's targets (1999) stand for
    the outcomes: with them no curve goes to infinity.
    """
    places = log_odds(probabilities)
    knots = _knots(places)
    weights = hat_weights(places, knots)
    hits = int(happened.sum())
    targets = np.where(happened, (hits + 1) / (hits + 2), 1 / (len(happened) - hits + 2))
    bends = np.diff(np.eye(len(knots)), 2, axis=0)
    penalty = _STIFFNESS * bends.T @ bends + _RIDGE * np.eye(len(knots))
    curve = knots.copy()
    for _ in range(100):
        chances = 1 / (1 + np.exp(-(weights @ curve)))
        precision = weights.T @ ((chances * (1 - chances))[:, None] * weights) + penalty
        step = np.linalg.solve(precision, weights.T @ (targets - chances) - penalty @ curve)
        curve = curve + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-6:
            break
    bands = [np.append(np.diag(precision, -below), np.zeros(min(below, len(knots)))) for below in range(3)]
    return CalibrationCurve(
        log_odds=tuple(knots.tolist()),
        calibrated=tuple(curve.tolist()),
        precision=tuple(tuple(band[: len(knots)].tolist()) for band in bands),
    )


def _knots(places: Numbers) -> Numbers:
    number = int(np.clip(len(places) // _ROWS_PER_KNOT, 2, _KNOTS))
    knots = np.unique(np.quantile(places, np.linspace(_OUTER_SHARE, 1 - _OUTER_SHARE, number)))
    return knots if len(knots) > 1 else np.array([knots[0], knots[0] + 1.0])


def _number_estimates(
    rows: pd.DataFrame, errors: Numbers, features: tuple[Feature, ...], fitted: Part
) -> NumberEstimates:
    if len(fitted) > _MAX_ERROR_ROWS:
        fitted = np.random.default_rng(0).choice(fitted, _MAX_ERROR_ROWS, replace=False)
    rows, absolute = rows.iloc[fitted], np.abs(errors[fitted])
    numbers = {feature.name for feature in number_features(features)} | {PREDICTION}
    columns = [
        _column(rows[name], absolute, number=name in numbers) for name in [*(one.name for one in features), PREDICTION]
    ]
    nothing = ErrorTrees(baseline=0.0, lowest=0.0, trees=())
    untrained = NumberEstimates(
        rows=len(rows),
        columns=tuple(columns),
        absolute=nothing,
        squared=nothing,
        absolute_factor=1.0,
        squared_factor=1.0,
    )
    table = error_table(rows, untrained)
    return untrained.model_copy(update={"absolute": _trees(table, absolute), "squared": _trees(table, absolute**2)})


def _column(values: pd.Series, absolute: Numbers, *, number: bool) -> ErrorColumn:
    if number:
        known = values.dropna()
        return ErrorColumn(name=str(values.name), filler=float(known.median()) if len(known) else 0.0)
    means = pd.Series(absolute).groupby(values.to_numpy(dtype=object)).mean()
    categories = {str(name): float(mean) for name, mean in means.items()}
    return ErrorColumn(name=str(values.name), filler=float(absolute.mean()), categories=categories)


def _trees(table: Numbers, values: Numbers) -> ErrorTrees:
    mean = float(values.mean())
    if mean == 0 or len(values) < 2 * MIN_ROWS:
        return ErrorTrees(baseline=mean, lowest=_LOWEST * mean, trees=())
    # scaled, as its own checks of a gain are absolute
    # one thread: on a busy machine several wait for each other at each leaf
    with threadpool_limits(limits=1, user_api="openmp"):
        fitted = HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(table, values / mean)
    trees = tuple(_nodes(one[0].nodes, mean) for one in fitted._predictors)  # noqa: SLF001 - no public way to its trees
    baseline = mean * float(np.ravel(fitted._baseline_prediction)[0])  # noqa: SLF001 - as above
    return ErrorTrees(baseline=baseline, lowest=_LOWEST * mean, trees=trees)


def _nodes(nodes: npt.NDArray[np.void], scale: float) -> tuple[Node, ...]:
    return tuple(
        Node(0, 0.0, place, place, scale * float(node["value"]))
        if node["is_leaf"]
        else Node(int(node["feature_idx"]), float(node["num_threshold"]), int(node["left"]), int(node["right"]), 0.0)
        for place, node in enumerate(nodes)
    )


def _relative_variance(values: Numbers, expected: Numbers) -> float:
    """Return the variance of values around what was expected of them, in squares of that."""
    return float(((values - expected) ** 2).sum() / max(float((expected**2).sum()), np.finfo(np.float64).tiny))
