"""Estimated performance: what the scores of a window should be, by the model's own calibrated probabilities.

For classes it is confidence-based performance estimation (CBPE), for numbers direct loss estimation (DLE), as NannyML
names them. Neither sees concept drift: both take the relation between inputs and labels to be that of training.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import solveh_banded
from scipy.stats import beta, gamma

from model.artifact.estimates import CalibrationCurve, ClassEstimates, ErrorTrees, Estimates, NumberEstimates
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX
from model.statistics.windows import Numbers

Codes = npt.NDArray[np.intp]

COVERAGE = 0.95
"""How often the true score should lie within the interval."""
_NEAREST_TO_CERTAIN = 1e-3  # log odds need a bound
_SMALLEST_VARIANCE = 1e-12


class Moments(NamedTuple):
    """The expected score, and the variance that outcomes and calibration give it; of `rmse` both before the root.

    `zero` and `one` are the chances that it is exactly that, which no smooth distribution knows.
    """

    mean: float
    variance: float
    zero: float = 0.0
    one: float = 0.0


class Estimate(NamedTuple):
    """An estimated score and its interval, (windows,) each."""

    value: Numbers
    low: Numbers
    high: Numbers


class _Calibrated(NamedTuple):
    chances: Numbers
    """(rows, classes), each row adds up to 1."""
    of_class: Numbers
    """Before they add up, (rows, classes)."""
    total: Numbers
    """Their sum, (rows,)."""
    hats: tuple[Numbers, ...]
    """The weight of each knot of each curve, (rows, knots)."""


def log_odds(probabilities: Numbers) -> Numbers:
    """Return the log odds of probabilities, which count as no nearer to 0 or 1 than a thousandth."""
    held = np.clip(probabilities, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    return np.asarray(np.log(held / (1 - held)))


def hat_weights(places: Numbers, knots: Numbers) -> Numbers:
    """Return the weight of each knot in a piecewise linear curve at each place, (rows, knots)."""
    held = np.clip(places, knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, held, side="right"), 1, len(knots) - 1)
    share = (held - knots[right - 1]) / (knots[right] - knots[right - 1])
    weights = np.zeros((len(places), len(knots)))
    rows = np.arange(len(places))
    weights[rows, right - 1], weights[rows, right] = 1 - share, share
    return weights


def calibrated_chances(probabilities: Numbers, estimates: ClassEstimates) -> Numbers:
    """Return the chance of each class, (rows, classes), given the probabilities that the model says."""
    return _calibrated(probabilities, estimates).chances


def _calibrated(probabilities: Numbers, estimates: ClassEstimates) -> _Calibrated:
    curves = estimates.curves
    of_curve = probabilities[:, -1:] if len(curves) == 1 else probabilities
    hats = tuple(
        hat_weights(log_odds(of_curve[:, place]), np.array(curve.log_odds)) for place, curve in enumerate(curves)
    )
    columns = [
        1 / (1 + np.exp(-(weights @ np.array(curve.calibrated)))) for weights, curve in zip(hats, curves, strict=True)
    ]
    of_class = np.column_stack([1 - columns[0], *columns] if len(curves) == 1 else columns)
    total = of_class.sum(axis=1)
    return _Calibrated(of_class / total[:, None], of_class, total, hats)


def class_moments(probabilities: Numbers, answers: Codes, estimates: ClassEstimates) -> dict[str, Moments]:
    """Return what is expected of a window's accuracy, F1 and ROC AUC.

    `probabilities` (rows, classes) are those that the model said, `answers` (rows,) the places of the classes that it
    answered. F1 is of the last of two classes, else the mean over the classes that occur; ROC AUC of the last of two
    classes, else the mean over all, each against the rest. The variance is that of the linear part of the score: of
    the outcomes, independent with the calibrated chances, and of the curves' own sampling error.
    """
    known = _calibrated(probabilities, estimates)
    linear = {
        "accuracy": _accuracy(known.chances, answers),
        "f1": _f1(known.chances, answers),
        "roc_auc": _mean_auc(probabilities, known.chances),
    }
    exact = _chances_of_ends(known.chances, answers)
    return {
        name: Moments(
            value,
            _outcome_variance(known.chances, slopes) + _curve_variance(known, slopes, estimates.curves),
            *exact.get(name, ()),
        )
        for name, (value, slopes) in linear.items()
        if np.isfinite(value)
    }


def _chances_of_ends(chances: Numbers, answers: Codes) -> dict[str, tuple[float, float]]:
    """Return the chances that a score is exactly 0, and exactly 1: that all answers are wrong, or right."""
    right = chances[np.arange(len(answers)), answers]
    found = {"accuracy": (float(np.prod(1 - right)), float(np.prod(right)))}
    if chances.shape[1] == 2:
        found["f1"] = (float(np.prod(1 - right[answers == 1])), float(np.prod(right)))
    return found


def _outcome_variance(chances: Numbers, slopes: Numbers) -> float:
    mean = (slopes * chances).sum(axis=1)
    return float(((slopes**2 * chances).sum(axis=1) - mean**2).sum())


def _curve_variance(known: _Calibrated, slopes: Numbers, curves: tuple[CalibrationCurve, ...]) -> float:
    # of a class's own chance, before all are divided by their sum
    towards = (slopes - (slopes * known.chances).sum(axis=1, keepdims=True)) / known.total[:, None]
    if len(curves) == 1:
        towards = slopes[:, 1:] - slopes[:, :1]
    of_class = known.of_class[:, -1:] if len(curves) == 1 else known.of_class
    towards = towards * of_class * (1 - of_class)
    variance = 0.0
    for place, (weights, curve) in enumerate(zip(known.hats, curves, strict=True)):
        sums = towards[:, place] @ weights
        variance += float(sums @ solveh_banded(np.array(curve.precision), sums, lower=True))
    return variance


def calibration_variance(probabilities: Numbers, answers: Codes, weights: Numbers, estimates: ClassEstimates) -> float:
    """Return the variance that the curves' sampling error gives to a weighted sum of the chances of the answers."""
    slopes = np.zeros_like(probabilities)
    slopes[np.arange(len(answers)), answers] = weights
    return _curve_variance(_calibrated(probabilities, estimates), slopes, estimates.curves)


def _accuracy(chances: Numbers, answers: Codes) -> tuple[float, Numbers]:
    rows = np.arange(len(answers))
    slopes = np.zeros_like(chances)
    slopes[rows, answers] = 1 / len(answers)
    return float(chances[rows, answers].mean()), slopes


def _f1(chances: Numbers, answers: Codes) -> tuple[float, Numbers]:
    classes = chances.shape[1]
    answered = answers[:, None] == np.arange(classes)
    both = answered.sum(axis=0) + chances.sum(axis=0)
    both = np.where(both > 0, both, 1.0)  # of a class that does not occur, the score is 0
    scores = 2 * (chances * answered).sum(axis=0) / both
    if classes == 2:
        share = np.array([0.0, 1.0])
    else:
        occurs = np.where(answered.any(axis=0), 1.0, 1 - np.prod(1 - chances, axis=0))
        share = occurs / occurs.sum()
    return float(scores @ share), (2 * answered - scores) / both * share


def _mean_auc(probabilities: Numbers, chances: Numbers) -> tuple[float, Numbers]:
    places = [1] if chances.shape[1] == 2 else range(chances.shape[1])
    slopes, values = np.zeros_like(chances), []
    for place in places:
        value, slopes[:, place] = _auc(probabilities[:, place], chances[:, place])
        values.append(value)
    return float(np.mean(values)), slopes / len(values)


def _auc(scores: Numbers, chances: Numbers) -> tuple[float, Numbers]:
    """Return the expected share of pairs in order, and how it changes with each row's outcome.

    A row makes no pair with itself, so the sum over all pairs of rows is without that part.
    """
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = np.bincount(place, chances), np.bincount(place, 1 - chances)
    positives, negatives = positive.sum(), negative.sum()
    negative_below = (np.cumsum(negative) - negative / 2)[place]
    positive_above = (positives - np.cumsum(positive) + positive / 2)[place]
    itself = float((chances * (1 - chances)).sum())
    pairs = positives * negatives - itself
    if pairs <= _SMALLEST_VARIANCE:
        return np.nan, np.zeros_like(scores)
    value = float((chances @ negative_below - itself / 2) / pairs)
    return value, (negative_below - positive_above - value * (negatives - positives)) / pairs


def number_moments(absolute: Numbers, squared: Numbers, estimates: NumberEstimates) -> dict[str, Moments]:
    """Return what is expected of a window's mean absolute and mean squared error, from those of its rows, (rows,)."""
    parts = (("mae", absolute, estimates.absolute_factor), ("rmse", squared, estimates.squared_factor))
    return {
        name: Moments(float(errors.mean()), float(factor * (errors**2).sum() / len(errors) ** 2))
        for name, errors, factor in parts
    }


def expected_errors(rows: pd.DataFrame, estimates: NumberEstimates) -> tuple[Numbers, Numbers]:
    """Return the absolute and the squared error that is expected of each row, (rows,) each."""
    table = error_table(rows, estimates)
    return tree_values(estimates.absolute, table), tree_values(estimates.squared, table)


def error_table(rows: pd.DataFrame, estimates: NumberEstimates) -> Numbers:
    """Return the columns that errors depend on as numbers, (rows, columns)."""
    columns = []
    for column in estimates.columns:
        values = rows[column.name]
        if column.categories is not None:
            values = values.map(column.categories)
        columns.append(values.astype("float64").fillna(column.filler).to_numpy())
    return np.column_stack(columns)


def tree_values(trees: ErrorTrees, table: Numbers) -> Numbers:
    """Return what the trees expect of each row, (rows,)."""
    total = np.full(len(table), trees.baseline)
    rows = np.arange(len(table))
    for tree in trees.trees:
        column, left, right = (np.array([node[place] for node in tree]) for place in (0, 2, 3))
        threshold, value = (np.array([node[place] for node in tree]) for place in (1, 4))
        at = np.zeros(len(table), dtype=np.intp)
        while True:
            following = np.where(table[rows, column[at]] <= threshold[at], left[at], right[at])
            if np.array_equal(following, at):
                break
            at = following
        total += value[at]
    return np.asarray(np.maximum(total, trees.lowest))


def window_moments(rows: pd.DataFrame, class_names: tuple[str, ...] | None, estimates: Estimates) -> dict[str, Moments]:
    """Return what is expected of the scores of logged rows; those without an answer or probabilities are left out."""
    if isinstance(estimates, NumberEstimates):
        kept = rows[rows[PREDICTION].notna()]
        return number_moments(*expected_errors(kept, estimates), estimates) if len(kept) else {}
    probabilities, answers, _ = answered(rows, class_names or ())
    return class_moments(probabilities, answers, estimates) if len(answers) else {}


def answered(rows: pd.DataFrame, class_names: tuple[str, ...]) -> tuple[Numbers, Codes, npt.NDArray[np.bool_]]:
    """Return the probabilities and the places of the answers of rows that have both, and which rows these are."""
    probabilities = rows[[f"{PROBABILITY_PREFIX}{name}" for name in class_names]].to_numpy(dtype=np.float64)
    answers = codes_of(rows[PREDICTION], class_names)
    kept = np.isfinite(probabilities).all(axis=1) & (answers >= 0)
    return probabilities[kept], answers[kept], kept


def codes_of(names: pd.Series, class_names: tuple[str, ...]) -> Codes:
    """Return the place of each class, -1 for what is none."""
    return np.asarray(pd.Index(class_names, dtype=object).get_indexer(pd.Index(names, dtype=object)), dtype=np.intp)


def intervals(
    moments: Sequence[dict[str, Moments]], estimates: Estimates, seconds: float | None
) -> dict[str, Estimate]:
    """Return the estimate of each score in windows of this length, NaN where a window has none.

    A share gets the quantiles of the beta distribution with its mean and variance, an error those of the gamma
    distribution. The variance counts what windows of held-out rows showed beyond chance.
    """
    found = {}
    for name in dict.fromkeys(name for one in moments for name in one):
        nothing = Moments(np.nan, np.nan)
        of_windows = [one.get(name, nothing) for one in moments]
        found[name] = interval(name, of_windows, estimates.excess_deviation(name, seconds))
    return found


def interval(name: str, moments: Sequence[Moments], excess: float) -> Estimate:
    """Return the estimates of one score, (windows,), with their intervals; `excess` is the deviation beyond chance."""
    mean, variance, zero, one = np.array(moments).T
    tails = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
    if name in {"mae", "rmse"}:
        root = name == "rmse"
        value = np.sqrt(mean) if root else mean
        # of the root, the deviation is that of the square over twice the root
        spread = np.maximum(variance + (excess * (2 * value if root else 1)) ** 2, _SMALLEST_VARIANCE * mean**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            low, high = (gamma.ppf(tail, mean**2 / spread, scale=spread / mean) for tail in tails)
        low, high = (np.where(mean > 0, bound, 0.0) for bound in (low, high))
        return Estimate(value, *((np.sqrt(low), np.sqrt(high)) if root else (low, high)))
    room = mean * (1 - mean)
    spread = np.clip(variance + excess**2, _SMALLEST_VARIANCE, 0.99 * np.maximum(room, 2 * _SMALLEST_VARIANCE))
    rows = np.maximum(room / spread - 1, 1e-6)
    low, high = (beta.ppf(tail, np.maximum(mean * rows, 1e-9), np.maximum((1 - mean) * rows, 1e-9)) for tail in tails)
    return Estimate(mean, np.where(zero > tails[0], 0.0, low), np.where(one > tails[0], 1.0, high))


SETTLED_WINDOWS, MIN_SETTLED = 100, 20
"""By so many past windows intervals are widened, and by no fewer."""
_FARTHEST = 1_000.0


def distance(one: Estimate, true: float) -> float:
    """Return how far the true score of one window is from its estimate: 1 is the end of the interval on that side."""
    value = float(one.value[0])
    half = float(one.high[0]) - value if true > value else value - float(one.low[0])
    return min(abs(true - value) / max(half, 1e-12), _FARTHEST)


def widening(distances: Sequence[float]) -> float:
    """Return by how much intervals are to be widened, given the distances of past windows; 1 where these are few.

    It is the conformal quantile of the distances: the next window lies within it with the chance that intervals
    promise, if it is like these (Papadopoulos et al. 2002, Inductive confidence machines for regression). Intervals
    never become narrower.
    """
    known = np.sort(np.asarray(distances, dtype=np.float64)[-SETTLED_WINDOWS:])
    if len(known) < MIN_SETTLED:
        return 1.0
    return max(1.0, float(known[min(int(np.ceil((len(known) + 1) * COVERAGE)), len(known)) - 1]))


def widened(name: str, one: Estimate, factor: float) -> Estimate:
    """Return an estimate with a wider interval, as far as there are such scores."""
    low, high = (one.value + factor * (end - one.value) for end in (one.low, one.high))
    return Estimate(one.value, np.maximum(low, 0.0), high if name in {"mae", "rmse"} else np.minimum(high, 1.0))


def true_class_scores(probabilities: Numbers, labels: Codes, answers: Codes) -> dict[str, float]:
    """Return the scores that `class_moments` estimates, as far as they are defined; `labels` (rows,) are places too."""
    # where outcomes are certain, what is expected is what is
    outcomes = (labels[:, None] == np.arange(probabilities.shape[1])).astype(np.float64)
    scores = {"accuracy": _accuracy(outcomes, answers)[0], "f1": _f1(outcomes, answers)[0]}
    if outcomes.any(axis=0).all():
        scores["roc_auc"] = _mean_auc(probabilities, outcomes)[0]
    return scores


def true_number_scores(errors: Numbers) -> dict[str, float]:
    """Return the scores that `number_moments` estimates."""
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def true_scores(rows: pd.DataFrame, class_names: tuple[str, ...] | None) -> dict[str, float]:
    """Return the true scores of labelled rows, as far as they are defined."""
    if class_names is None:
        errors = (rows[PREDICTION] - rows[LABEL]).to_numpy(dtype=np.float64)
        return true_number_scores(errors) if len(errors) else {}
    probabilities, answers, kept = answered(rows, class_names)
    labels = codes_of(rows[LABEL], class_names)[kept]
    known = labels >= 0
    return true_class_scores(probabilities[known], labels[known], answers[known]) if known.any() else {}


def said(found: Mapping[str, Estimate]) -> dict[str, Numbers]:
    """Return estimates as the values of windows: each score, and the ends of its interval."""
    values: dict[str, Numbers] = {}
    for name, one in found.items():
        values |= {f"estimated_{name}": one.value, f"estimated_{name}_low": one.low, f"estimated_{name}_high": one.high}
    return values
