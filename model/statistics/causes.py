"""Why the performance of a window differs from the reference's: changed inputs, by feature, or a changed relation.

What the changed inputs explain is the difference of the estimated performance; what is left is the changed relation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from model.artifact.estimates import Estimates, NumberEstimates
from model.artifact.manifest import ClassifierManifest, Feature, Manifest
from model.data.encoding import number_features
from model.statistics.estimation import COVERAGE, answered, calibration_variance
from model.statistics.segments import expected_scores, row_scores
from model.statistics.windows import Numbers

Codes = npt.NDArray[np.intp]

MIN_ROWS = 30
"""Labelled rows below which nothing is said."""
MAX_ROWS = 4_000
"""Rows of the window, and of the reference, by which features are told apart."""
MAX_FEATURES = 60
"""Features that are told apart: those whose values moved most."""
MAX_BINS, MIN_ROWS_PER_BIN = 10, 20
_RIDGE = 1.0
"""In rows: how much a value that few rows have is drawn to the mean."""
_Z = float(norm.ppf((1 + COVERAGE) / 2))


class Part(NamedTuple):
    """A part of a change, and the interval in which it lies 95 times of 100."""

    value: float
    low: float
    high: float


class Causes(NamedTuple):
    """A score of the reference and of the window, and the parts that its change consists of.

    `score` is "accuracy" or "mean_absolute_error". `inputs` and `relation` add up to the change; `features`, the
    largest first, and `together`, what lies in how they come together, to `inputs`.
    """

    score: str
    usual: float
    now: float
    inputs: Part
    relation: Part
    features: tuple[tuple[str, Part], ...]
    together: float


def causes(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, estimates: Estimates, seconds: float | None
) -> Causes | None:
    """Return why the score of the labelled rows of a window differs from that of the reference; None for too few.

    The estimate of a row's score knows its inputs and the relation of training. Its mean over the window minus that
    over the reference is what the inputs explain; the rest of the change is the relation. An additive curve of each
    feature, fitted to the estimates of all rows, gives the inputs' part by feature, as in the decomposition of Oaxaca
    and Blinder (1973): the mean of the curve over the window minus that over the reference. `seconds` is the length of
    the window, with which estimates stray beyond chance.
    """
    now, usual = _Scored.of(labelled, manifest, estimates), _Scored.of(reference, manifest, estimates)
    if min(len(now.true), len(usual.true)) < MIN_ROWS:
        return None
    name = "accuracy" if isinstance(manifest, ClassifierManifest) else "mean_absolute_error"
    excess = estimates.excess_deviation("accuracy" if name == "accuracy" else "mae", seconds)
    calibration = _calibration_variance(now, usual, manifest, estimates)
    features, together = _by_feature(now, usual, manifest.features)
    return Causes(
        name,
        float(usual.true.mean()),
        float(now.true.mean()),
        _difference(now.expected, usual.expected, calibration),
        _difference(now.true - now.expected, usual.true - usual.expected, calibration + excess**2),
        features,
        together,
    )


class _Scored(NamedTuple):
    """Rows whose true and expected score are known."""

    rows: pd.DataFrame
    true: Numbers
    expected: Numbers

    @classmethod
    def of(cls, rows: pd.DataFrame, manifest: Manifest, estimates: Estimates) -> "_Scored":
        true, expected = row_scores(rows, manifest), expected_scores(rows, manifest, estimates)
        known = np.isfinite(true) & np.isfinite(expected)
        return cls(rows[known], true[known], expected[known])

    def sample(self) -> "_Scored":
        if len(self.true) <= MAX_ROWS:
            return self
        kept = np.random.default_rng(0).choice(len(self.true), MAX_ROWS, replace=False)
        return _Scored(self.rows.iloc[kept], self.true[kept], self.expected[kept])


def _calibration_variance(now: _Scored, usual: _Scored, manifest: Manifest, estimates: Estimates) -> float:
    """Return the variance that the sampling error of the estimates gives to their difference, as far as it is known."""
    if isinstance(estimates, NumberEstimates) or not isinstance(manifest, ClassifierManifest):
        return 0.0
    weights = np.repeat([1 / len(now.true), -1 / len(usual.true)], [len(now.true), len(usual.true)])
    both = pd.concat([now.rows, usual.rows], ignore_index=True)
    probabilities, answers, _ = answered(both, manifest.class_names)
    return calibration_variance(probabilities, answers, weights, estimates)


def _difference(now: Numbers, usual: Numbers, variance: float = 0.0) -> Part:
    """Return the mean of the window minus that of the reference; `variance` comes from more than their rows."""
    value = float(now.mean() - usual.mean())
    deviation = float(np.sqrt(now.var(ddof=1) / len(now) + usual.var(ddof=1) / len(usual) + variance))
    return Part(value, value - _Z * deviation, value + _Z * deviation)


def _by_feature(
    now: _Scored, usual: _Scored, features: Sequence[Feature]
) -> tuple[tuple[tuple[str, Part], ...], float]:
    """Return the part of each feature, the largest first, and what is left of the inputs' part."""
    whole = float(now.expected.mean() - usual.expected.mean())
    now, usual = now.sample(), usual.sample()
    split, numbers = len(now.true), {one.name for one in number_features(features)}
    both = pd.concat([now.rows, usual.rows], ignore_index=True)
    codes = {one.name: value_codes(both[one.name], number=one.name in numbers) for one in features}
    moved = {name: _moved(one, split) for name, one in codes.items()}
    names = sorted(moved, key=lambda name: -moved[name])[:MAX_FEATURES]
    curves = _additive_curves([codes[name] for name in names], np.concatenate([now.expected, usual.expected]))
    parts = [_difference(curve[:split], curve[split:]) for curve in curves]
    found = sorted(zip(names, parts, strict=True), key=lambda one: -abs(one[1].value))
    return tuple(found), whole - sum(part.value for part in parts)


def value_codes(values: pd.Series, *, number: bool) -> Codes:
    """Return which group of like values each value is in, (rows,): between two quantiles, or the same category.

    Missing values are a group, and so are all categories after the most common ones.
    """
    if not number:
        places = values.value_counts().index[:MAX_BINS].get_indexer(pd.Index(values))
        return np.where(values.isna(), 0, np.where(places < 0, 1, places + 2)).astype(np.intp)
    known = values.to_numpy("float64")
    present = np.isfinite(known)
    if not present.any():
        return np.zeros(len(known), dtype=np.intp)
    bins = int(np.clip(present.sum() // MIN_ROWS_PER_BIN, 1, MAX_BINS))
    edges = np.unique(np.quantile(known[present], np.linspace(0, 1, bins + 1)[1:-1]))
    # a value that is itself an edge, as of few different ones, is a group
    places = np.searchsorted(edges, known, side="left") + np.searchsorted(edges, known, side="right") + 1
    return np.where(present, places, 0).astype(np.intp)


def _moved(codes: Codes, split: int) -> float:
    """Return how far the shares of the groups moved, in standard errors: chi-square over its degrees of freedom."""
    size = int(codes.max()) + 1
    now, usual = np.bincount(codes[:split], minlength=size), np.bincount(codes[split:], minlength=size)
    both = now + usual
    shares = now / max(1, now.sum()) - usual / max(1, usual.sum())
    return float((shares[both > 0] ** 2 / both[both > 0]).sum() / max(1, (both > 0).sum() - 1))


def _additive_curves(codes: Sequence[Codes], values: Numbers) -> list[Numbers]:
    """Fit a sum of one curve for each column to values; return each curve at each row, (rows,)."""
    columns = [np.unique(one, return_inverse=True)[1] for one in codes]
    starts = np.cumsum([0, *(int(one.max()) + 1 for one in columns)])
    table = np.zeros((len(values), int(starts[-1])))
    rows = np.arange(len(values))
    for start, one in zip(starts, columns, strict=False):
        table[rows, start + one] = 1.0
    centred = table - table.mean(axis=0)
    gram = centred.T @ centred + _RIDGE * np.eye(table.shape[1])
    heights = np.linalg.solve(gram, centred.T @ (values - values.mean()))
    return [heights[start + one] for start, one in zip(starts, columns, strict=False)]
