"""Distances between windows and the reference, for many windows at once; and how columns go together in one."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import rel_entr
from scipy.stats import norm, rankdata

from model.artifact.manifest import DriftMethod, Feature
from model.data.encoding import number_features
from model.statistics.windows import Counts

_CONSTANT = 0.001  # of the largest value, or of 1: what stands for the deviation of a reference that does not vary
_ROUNDING = 1e-12  # of the largest value: no more than the sums of float64 leave of a constant


def column_deviation(reference: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation (ddof 0) of reference values (rows,) without missing ones; always above 0.

    Evidently's own "wasserstein" takes nothing below 0.001, whatever the unit: a concentration in mol per litre would
    never be found to drift. Where the reference does not vary, a thousandth of its value stands for the deviation.
    """
    deviation, largest = float(np.std(reference)), float(np.abs(reference).max())
    if deviation > _ROUNDING * largest:
        return deviation
    return _CONSTANT * min(1.0, largest) or _CONSTANT


def in_deviations(values: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far values lie from the mean of reference values without missing ones, in standard deviations."""
    return np.asarray((values - reference.mean()) / column_deviation(reference))


Distances = npt.NDArray[np.float64]


class DriftStatistic(Protocol):
    """The distance of one column, for windows that are given by how often they hold each row."""

    def distances(self, counts: Counts) -> Distances:
        """Return the distance of each window, (windows,), from counts (population rows, windows).

        NaN for a window in which the column has no value at all.
        """


class WassersteinStatistic:
    """Wasserstein-1 distance of a number column, divided by the reference's standard deviation.

    For samples it is the area between the two distribution functions: with F and G their values at the
    pooled, sorted values x, sum of |F - G| * dx. Missing values are left out first. The standard deviation
    is that of `column_deviation`.
    """

    def __init__(self, reference: pd.Series, population: pd.Series) -> None:
        kept = np.sort(reference.dropna().to_numpy(dtype=np.float64))
        values = population.to_numpy(dtype=np.float64)
        present = np.flatnonzero(~np.isnan(values))
        self._rows = present[np.argsort(values[present], kind="stable")]
        ascending = values[self._rows]
        support = np.unique(np.concatenate([kept, ascending]))
        self._widths = np.diff(support) / column_deviation(kept)
        self._reference_shares = np.searchsorted(kept, support[:-1], side="right") / len(kept)
        self._rows_up_to = np.searchsorted(ascending, support[:-1], side="right")

    def distances(self, counts: Counts) -> Distances:
        """Return the distance of each window; see `DriftStatistic`."""
        cumulated = np.zeros((len(self._rows) + 1, counts.shape[1]), dtype=counts.dtype)
        np.cumsum(counts[self._rows], axis=0, out=cumulated[1:])
        gaps = cumulated[self._rows_up_to]
        gaps /= _or_nan(cumulated[-1])
        gaps -= self._reference_shares.astype(counts.dtype)[:, None]
        np.abs(gaps, out=gaps)
        return np.asarray(self._widths.astype(counts.dtype) @ gaps, dtype=np.float64)


class JensenShannonStatistic:
    """Jensen-Shannon distance of a text column: square root of the divergence in nats of the category shares.

    Missing values are left out first; a category that only one side has counts with a share of 0 on the
    other.
    """

    def __init__(self, reference: pd.Series, population: pd.Series) -> None:
        kept, present = reference.dropna().astype(str), population.notna().to_numpy()
        categories = pd.Index(sorted({*kept, *population[present].astype(str)}))
        codes = categories.get_indexer(pd.Index(population[present].astype(str)))
        order = np.argsort(codes, kind="stable")
        self._rows = np.flatnonzero(present)[order]
        self._present_codes, self._starts = np.unique(codes[order], return_index=True)
        self._reference_shares = (
            np.bincount(categories.get_indexer(pd.Index(kept)), minlength=len(categories)) / len(kept)
        )[:, None]

    def distances(self, counts: Counts) -> Distances:
        """Return the distance of each window; see `DriftStatistic`."""
        shares = np.zeros((len(self._reference_shares), counts.shape[1]))
        if len(self._rows):
            shares[self._present_codes] = np.add.reduceat(counts[self._rows], self._starts, axis=0)
        shares /= _or_nan(shares.sum(axis=0))
        middle = (shares + self._reference_shares) / 2
        divergence = rel_entr(shares, middle) + rel_entr(self._reference_shares, middle)
        # rounding can take the divergence of equal shares just below 0
        return np.asarray(np.sqrt(np.maximum(divergence.sum(axis=0), 0.0) / 2))


def build_statistic(method: DriftMethod, reference: pd.Series, population: pd.Series) -> DriftStatistic:
    """Return the statistic of one column for windows made of the population's rows."""
    if method == "wasserstein":
        return WassersteinStatistic(reference, population)
    return JensenShannonStatistic(reference, population)


def _or_nan(totals: Counts) -> Counts:
    return np.where(totals > 0, totals, np.nan).astype(totals.dtype)


class JointDrift(NamedTuple):
    """How the columns of a window go together, compared with the reference.

    `separation` is the out-of-fold ROC AUC of a classifier that tells the rows of the window from those of the
    reference, 0.5 where nothing tells them apart. `pairs` are two columns and their rank correlation in the reference
    and in the window, the one that changed most first.
    """

    separation: float
    pairs: tuple[tuple[str, str, float, float], ...]


MIN_JOINT_ROWS, MAX_JOINT_ROWS, MAX_JOINT_COLUMNS = 100, 1_000, 30
"""Of the window, and likewise of the reference; wider tables are looked at in the columns that go together most."""
_JOINT_RIDGE = 0.1


def joint_drift(current: pd.DataFrame, reference: pd.DataFrame, features: Sequence[Feature]) -> JointDrift | None:
    """Compare how columns go together, whatever each is by itself; None for too few rows or columns.

    Each value is its normal score among the values of its own column and side, so that no single column tells the
    sides apart. A linear discriminant (Fisher 1936) on the products of all pairs is fitted to one half of the rows and
    tested on the other, both ways round.
    """
    if min(len(current), len(reference)) < MIN_JOINT_ROWS:
        return None
    rng = np.random.default_rng(0)
    sides = [
        rows if len(rows) <= MAX_JOINT_ROWS else rows.iloc[rng.choice(len(rows), MAX_JOINT_ROWS, replace=False)]
        for rows in (current, reference)
    ]
    names = [one.name for one in features]
    numbers = {one.name for one in number_features(features)}
    orders = {name: reference[name].value_counts().index for name in names if name not in numbers}
    now, usual = (np.column_stack([_normal_scores(rows[name], orders.get(name)) for name in names]) for rows in sides)
    before = usual.T @ usual / len(usual)
    kept = np.argsort(-(np.abs(before).sum(axis=1)), kind="stable")[:MAX_JOINT_COLUMNS]
    left, right = np.triu_indices(len(kept), 1)
    if not len(left):
        return None
    left, right = kept[left], kept[right]
    products = np.concatenate([now[:, left] * now[:, right], usual[:, left] * usual[:, right]])
    is_now = np.arange(len(products)) < len(now)
    change = products[is_now].mean(axis=0) - products[~is_now].mean(axis=0)
    pairs = tuple(
        (names[left[one]], names[right[one]], float(before[left[one], right[one]]), float(products[is_now, one].mean()))
        for one in np.argsort(-np.abs(change), kind="stable")
    )
    return JointDrift(_separation(products, is_now, rng.permutation(len(products)) % 2), pairs)


def _normal_scores(values: pd.Series, order: "pd.Index | None") -> npt.NDArray[np.float64]:
    """Return the normal scores of the ranks of values, 0 where missing; categories in the order of their frequency."""
    if order is not None:
        places = order.get_indexer(pd.Index(values))
        values = pd.Series(np.where(values.isna(), np.nan, np.where(places < 0, len(order), places)))
    known = values.to_numpy("float64")
    present = np.isfinite(known)
    scores = np.zeros(len(known))
    if present.any():
        scores[present] = norm.ppf((rankdata(known[present]) - 0.5) / present.sum())
    deviation = scores.std()
    return scores / deviation if deviation > 0 else scores


def _separation(table: npt.NDArray[np.float64], is_now: npt.NDArray[np.bool_], fold: npt.NDArray[np.intp]) -> float:
    areas = []
    for held_out in (0, 1):
        fitted, tested = fold != held_out, fold == held_out
        mean, deviation = table[fitted].mean(axis=0), table[fitted].std(axis=0) + _ROUNDING
        scaled = (table - mean) / deviation
        spread = scaled[fitted].T @ scaled[fitted] / fitted.sum() + _JOINT_RIDGE * np.eye(table.shape[1])
        target = is_now[fitted] - is_now[fitted].mean()
        weights = np.linalg.solve(spread, scaled[fitted].T @ target)
        ranks, those = rankdata(scaled[tested] @ weights), is_now[tested]
        positive, negative = those.sum(), (~those).sum()
        areas.append((ranks[those].sum() - positive * (positive + 1) / 2) / (positive * negative))
    return float(np.mean(areas))
