"""The weakest segments of a window, found by a shallow tree on its errors and tested on rows that it has not seen."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, norm
from sklearn.tree import DecisionTreeRegressor

from model.artifact.manifest import ClassifierManifest, Manifest
from model.data.encoding import encoding_of, number_features
from model.statistics.segments import MIN_ROWS, Mask, column_of, metadata_columns
from model.statistics.windows import Numbers

MAX_SEGMENTS = 3
MAX_ROWS = 20_000
"""Rows that are looked at: in more of them, the weak ones are seen no better."""
MAX_CATEGORIES = 10
MAX_CELLS = 4_000_000
"""Of the table that the tree is fitted on: 16 MB of float32."""
_DEPTH, _PARTS = 3, 40  # a leaf has at least so large a part of the rows
_CHANCE = 0.01
"""Of naming any segment in a window whose errors are the same everywhere."""
_SHOWN = 40


class WeakSegment(NamedTuple):
    """A segment in which the model does worse than elsewhere, by the rows that tested it.

    `score` is the accuracy or the mean absolute error, between `low` and `high` 95 times of 100.
    """

    rule: str
    rows: int
    score: float
    low: float
    high: float
    elsewhere: float
    is_accuracy: bool

    def sentence(self) -> str:
        """Say it in one sentence, for people."""
        if self.is_accuracy:
            score, low, high, elsewhere = (
                f"{100 * value:.0f}" for value in (self.score, self.low, self.high, self.elsewhere)
            )
            figure, unit = f"accuracy {score} % ({low} to {high} %)", " %"
        else:
            score, low, high, elsewhere = (
                f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
                for value in (self.score, self.low, self.high, self.elsewhere)
            )
            figure, unit = f"mean absolute error {score} ({low} to {high})", ""
        return f"{self.rule}: {figure} in {self.rows:,} rows, {elsewhere}{unit} elsewhere"


class _Cut(NamedTuple):
    """A column of the tree's table: a feature's numbers by their order, or whether a row has a category."""

    name: str
    codes: Numbers
    numbers: Numbers | None = None
    category: str | None = None


class _Step(NamedTuple):
    cut: int
    threshold: float
    is_left: bool


class _Node(NamedTuple):
    steps: tuple[_Step, ...]
    rows: Mask


def weakest_segments(rows: pd.DataFrame, scores: Numbers, manifest: Manifest) -> list[WeakSegment]:
    """Return at most MAX_SEGMENTS segments, the weakest first; `scores` (rows,) are those of `row_scores`.

    Half of the rows, drawn with a fixed seed, fit a tree; the segments that stand out there are tested on the others.
    None overlaps another.
    """
    known = np.flatnonzero(np.isfinite(scores))
    known = np.random.default_rng(0).permutation(known)[: min(MAX_ROWS, MAX_CELLS // _width(manifest))]
    if len(known) < 4 * MIN_ROWS:
        return []
    is_accuracy = isinstance(manifest, ClassifierManifest)
    rows, losses = rows.iloc[known], 1 - scores[known] if is_accuracy else scores[known]
    fits = np.arange(len(known)) < len(known) // 2
    if not losses[fits].any() or np.ptp(losses[fits]) == 0:
        return []
    cuts = _cuts(rows, manifest)
    if not cuts:
        return []
    found = []
    for node in _foremost(_nodes(cuts, losses, fits), losses, fits):
        inside, outside = losses[node.rows & ~fits], losses[~node.rows & ~fits]
        if min(len(inside), len(outside)) < MIN_ROWS or _z(inside, outside) < norm.ppf(1 - _CHANCE / MAX_SEGMENTS):
            continue
        found.append(_tested(_rule(node, cuts), inside, outside, is_accuracy=is_accuracy))
    return sorted(found, key=lambda one: one.score if is_accuracy else -one.score)


def _tested(rule: str, inside: Numbers, outside: Numbers, *, is_accuracy: bool) -> WeakSegment:
    mean, elsewhere, rows = float(inside.mean()), float(outside.mean()), len(inside)
    if is_accuracy:
        right = rows - float(inside.sum())
        low, high = beta.ppf([0.025, 0.975], right + 0.5, rows - right + 0.5)
        return WeakSegment(rule, rows, 1 - mean, float(low), float(high), 1 - elsewhere, is_accuracy=True)
    half = float(norm.ppf(0.975) * inside.std(ddof=1) / np.sqrt(rows))
    return WeakSegment(rule, rows, mean, max(0.0, mean - half), mean + half, elsewhere, is_accuracy=False)


def _z(inside: Numbers, outside: Numbers) -> float:
    variance = inside.var() / len(inside) + outside.var() / len(outside)
    difference = float(inside.mean() - outside.mean())
    if variance > 0:
        return difference / float(np.sqrt(variance))
    return np.inf if difference > 0 else 0.0


def _cuts(rows: pd.DataFrame, manifest: Manifest) -> list[_Cut]:
    features = {feature.name: feature for feature in manifest.features}
    names = dict.fromkeys([*features, *manifest.segments, *manifest.fairness])
    found: list[_Cut] = []
    for name in names:
        values = column_of(rows, name, manifest)
        if name in features and encoding_of(features[name]).is_number:
            numbers, codes = np.unique(values.to_numpy(dtype=np.float64), return_inverse=True)
            known = int(np.isfinite(numbers).sum())
            if known:
                # missing ones come before all others
                ordered = np.where(codes < known, codes, -1).astype(np.float64)
                found.append(_Cut(name, ordered, numbers[:known]))
        else:
            found += _categories(name, values)
    return found


def _width(manifest: Manifest) -> int:
    """Return how many columns the table has at most."""
    numbers = len(number_features(manifest.features))
    others = len(manifest.features) - numbers + len(metadata_columns(manifest))
    return max(1, numbers + (MAX_CATEGORIES + 1) * others)


def _categories(name: str, values: pd.Series) -> Iterable[_Cut]:
    for value in values.value_counts().index[:MAX_CATEGORIES]:
        yield _Cut(name, np.asarray(values == value).astype(np.float64), category=str(value))
    if values.isna().any():
        yield _Cut(name, values.isna().to_numpy().astype(np.float64), category="missing")


def _nodes(cuts: Sequence[_Cut], losses: Numbers, fits: Mask) -> list[_Node]:
    """Return the nodes of the tree but for its root."""
    table = np.column_stack([cut.codes for cut in cuts]).astype(np.float32)
    smallest = max(MIN_ROWS, int(fits.sum()) // _PARTS)
    tree = DecisionTreeRegressor(max_depth=_DEPTH, min_samples_leaf=smallest, random_state=0)
    tree.fit(table[fits], losses[fits])
    inner = tree.tree_
    paths: list[tuple[int, tuple[_Step, ...], Mask]] = [(0, (), np.ones(len(table), dtype=bool))]
    found = []
    while paths:
        place, steps, mask = paths.pop()
        if steps:
            found.append(_Node(steps, mask))
        if inner.children_left[place] < 0:
            continue
        cut, threshold = int(inner.feature[place]), float(inner.threshold[place])
        left = table[:, cut] <= threshold
        paths.append((int(inner.children_left[place]), (*steps, _Step(cut, threshold, is_left=True)), mask & left))
        paths.append((int(inner.children_right[place]), (*steps, _Step(cut, threshold, is_left=False)), mask & ~left))
    return found


def _foremost(nodes: Sequence[_Node], losses: Numbers, fits: Mask) -> list[_Node]:
    """Return the nodes that stand out on the rows that fitted the tree, none of which overlap."""
    strength = [(_z(losses[node.rows & fits], losses[~node.rows & fits]), place) for place, node in enumerate(nodes)]
    found: list[_Node] = []
    for z, place in sorted(strength, key=lambda one: (-one[0], one[1])):
        if z > 0 and len(found) < MAX_SEGMENTS and not any((nodes[place].rows & one.rows).any() for one in found):
            found.append(nodes[place])
    return found


def _rule(node: _Node, cuts: Sequence[_Cut]) -> str:
    steps: dict[str, list[_Step]] = {}
    for step in node.steps:
        steps.setdefault(cuts[step.cut].name, []).append(step)
    return " and ".join(
        _number_rule(cuts[of_column[0].cut], of_column)
        if cuts[of_column[0].cut].numbers is not None
        else _category_rule(name, of_column, cuts)
        for name, of_column in steps.items()
    )


def _category_rule(name: str, steps: Sequence[_Step], cuts: Sequence[_Cut]) -> str:
    has = [str(cuts[step.cut].category) for step in steps if not step.is_left]
    lacks = [str(cuts[step.cut].category) for step in steps if step.is_left]
    if has:
        return f"{name} {_short(has[0])}"
    return f"{name} not {' nor '.join(_short(one) for one in lacks)}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _number_rule(cut: _Cut, steps: Sequence[_Step]) -> str:
    numbers = cut.numbers
    assert numbers is not None  # noqa: S101 - for the type checker: callers ask for numbers only
    highest = min((step.threshold for step in steps if step.is_left), default=np.inf)
    lowest = max((step.threshold for step in steps if not step.is_left), default=-np.inf)
    codes: npt.NDArray[np.intp] = np.arange(len(numbers))
    within = numbers[(codes > lowest) & (codes <= highest)]
    missing = lowest < -1 and bool((cut.codes < 0).any())
    if not len(within):
        return f"{cut.name} missing"
    if not np.isfinite(highest):
        return f"{cut.name} from {within[0]:.6g}" if lowest >= 0 or not missing else f"{cut.name} not missing"
    start = f"from {within[0]:.6g} " if np.isfinite(lowest) else ""
    if start and within[0] == within[-1]:
        return f"{cut.name} {within[0]:.6g}"
    return f"{cut.name} {start}{'to' if start else 'up to'} {within[-1]:.6g}" + (" or missing" if missing else "")
