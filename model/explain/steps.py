"""SHAP values of the last step of a pipeline, in terms of its encoded columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimators import library_of
from model.errors import ExplanationError

Numbers = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
Method = Literal["TreeSHAP", "linear SHAP"]
Unit = Literal["probability", "log odds", "target"]


class ExplainedStep(Protocol):
    """What attributes the answers of an estimator to its columns."""

    method: ClassVar[Method]
    work: float
    rounding: ClassVar[float]
    """How far the sum of the values may be off, as its library computes."""

    @property
    def base(self) -> Numbers:
        """Return what is answered with nothing known, (outputs,)."""

    def phi(self, encoded: Numbers) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of encoded rows (rows, columns)."""

    def answers(self, encoded: Numbers) -> Iterator[tuple[Unit, Numbers]]:
        """Yield what the values may add up to, (rows, outputs), with its unit."""


class TreeStep:
    """TreeSHAP of a forest, a tree or boosted trees; raises ExplanationError for what shap does not know."""

    method: ClassVar[Method] = "TreeSHAP"
    rounding: ClassVar[float] = 1e-5  # of shap on deep trees, 3e-6 seen; alarms look at shares of hundredths

    def __init__(self, estimator: Any) -> None:
        import shap  # noqa: PLC0415 - it takes seconds, and only some processes need it

        self._estimator = estimator
        # classic trees compare in float32; histogram boosting in float64
        self._single = hasattr(estimator, "tree_") or hasattr(estimator, "estimators_")
        try:
            self._trees = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
        except Exception as error:
            # shap's errors share no base, and each means that it does not know this kind of model
            first = str(error).partition("\n")[0]
            raise ExplanationError(f"TreeSHAP cannot explain {type(estimator).__name__}: {first}") from error
        self._fast = _fast_trees(estimator, self._trees.model)
        self.work = float(self._trees.model.values.size if self._fast is None else self._fast.work)

    @property
    def base(self) -> Numbers:
        """Return what is answered with nothing known, (outputs,): the trees' mean over their training rows."""
        return np.atleast_1d(np.asarray(self._trees.expected_value, dtype=np.float64))

    def phi(self, encoded: Numbers) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of encoded rows (rows, columns)."""
        # additivity is proven when a model is loaded; shap's own check refuses the rounding of float32 thresholds
        given = self._as_compared(encoded)
        if self._fast is not None:
            return self._fast.phi(given)
        values = np.asarray(self._trees.shap_values(given, check_additivity=False), dtype=np.float64)
        return values if values.ndim == 3 else values[:, :, None]

    def answers(self, encoded: Numbers) -> Iterator[tuple[Unit, Numbers]]:
        """Yield what the values may add up to, (rows, outputs), with its unit."""
        given = self._as_compared(encoded)
        rows = as_fitted(self._estimator, given)
        if not hasattr(self._estimator, "predict_proba"):
            yield "target", two_dimensional(self._estimator.predict(rows))
            return
        yield "probability", np.asarray(self._estimator.predict_proba(rows))
        if hasattr(self._estimator, "decision_function"):
            yield "log odds", two_dimensional(self._estimator.decision_function(rows))

    def _as_compared(self, encoded: Numbers) -> Numbers:
        return encoded.astype(np.float32).astype(np.float64) if self._single else encoded


_MAX_DEPTH = 200  # one call inside another for each level
_MAX_POINTS = 16  # exact up to 32 different columns on a path, and far below rounding in a probability beyond
_MAX_ROWS = 500  # at once: their arrays stay in a core's cache


def _fast_trees(estimator: Any, parsed: Any) -> "QuadratureTrees | None":
    """Return the trees that shap read from one of scikit-learn's own estimators, None where they hold anything else."""
    plain = type(estimator).__module__.startswith("sklearn.") and not np.any(parsed.threshold_types)
    return QuadratureTrees(parsed) if plain and parsed.max_depth <= _MAX_DEPTH else None


@dataclass(frozen=True)
class _Tree:
    """A tree by its nodes, (nodes,); `before` is the node above whose split was the last one by the same column.

    `share` is the part of the training rows that reach a node, of those that reached the splits by its column above.
    Where there is no node `before`, it is the root. `children` are (2, nodes), -1 for a leaf, and `values` (nodes,
    outputs). The nodes that split are in `levels`, from the root down.
    """

    children: Positions
    levels: list[Positions]
    column: Positions
    threshold: Numbers
    missing_left: npt.NDArray[np.bool_]
    before: Positions
    share: Numbers
    values: Numbers
    outputs: Positions
    points: int


class QuadratureTrees:
    """Path-dependent TreeSHAP of many rows at once: the values of `shap`, several times as fast on large trees.

    What a leaf answers where only the columns in a set S are known is its value times a product over the columns on its
    path: 1 or 0 for a column in S, as the row passes its splits or not, else the `share` of training rows that do. The
    Shapley value of such a product is an integral over t from 0 to 1 of a polynomial in t (the multilinear extension:
    Owen 1972, Management Science 18(5)), which Gauss-Legendre points add up without an error. Going down, a path's
    product is multiplied by one factor for each split; coming up, each split adds what the leaves below it contribute
    to its column, as in Linear TreeSHAP (Yu et al. 2022, NeurIPS). So the work is proportional to the nodes, where
    shap's is to the leaves times the square of their depth, and no rounding piles up with the depth.
    """

    def __init__(self, parsed: Any) -> None:
        self._outputs: int = parsed.num_outputs
        self._trees = [_read_tree(parsed, place) for place in range(len(parsed.children_left))]

    @property
    def work(self) -> int:
        """Return how many nodes all trees have, each counted once for each of its outputs."""
        return sum(tree.values.size for tree in self._trees)

    def phi(self, rows: Numbers) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of encoded rows (rows, columns)."""
        found = np.zeros((*rows.shape, self._outputs))
        columns, gaps = np.ascontiguousarray(rows.T), np.isnan(rows.T)
        for tree in self._trees:
            if not tree.points:
                continue
            tables = _Tables(tree)
            for start in range(0, len(rows), _MAX_ROWS):
                part = slice(start, start + _MAX_ROWS)
                found[part][:, :, tree.outputs] += _TreeWalk(tree, tables, columns[:, part], gaps[:, part]).phi()
        if self._outputs == 2 and all(len(tree.outputs) == 1 for tree in self._trees):
            found[:, :, 0] = -found[:, :, 1]
        return found


def _read_tree(parsed: Any, place: int) -> _Tree:
    size = 1 + max(0, *(int(getattr(parsed, name)[place].max()) for name in ("children_left", "children_right")))
    left, right, default, column, threshold, weights, values = (
        np.asarray(getattr(parsed, name)[place][:size])
        for name in (
            *("children_left", "children_right", "children_default", "features"),
            *("thresholds", "node_sample_weight", "values"),
        )
    )
    children = np.array([left, right], dtype=np.intp)
    levels, before, most = _last_splits(children, column)
    share = np.ones(size)
    for level in levels:
        for below in children[:, level]:
            share[below] = share[before[below]] * weights[below] / weights[level]
    outputs = np.flatnonzero(values.any(axis=0))
    # two classes: their probabilities add up to one, so that the values of one are those of the other with another sign
    if values.shape[1] == 2 and np.allclose(values.sum(axis=1), values[0].sum(), rtol=1e-9):
        outputs = np.array([1])
    return _Tree(
        children=children,
        levels=levels,
        column=column.astype(np.intp),
        threshold=threshold.astype(np.float64),
        missing_left=default == left,
        before=before,
        share=share,
        values=values[:, outputs].astype(np.float64),
        outputs=outputs,
        points=min((most + 1) // 2, _MAX_POINTS),
    )


def _last_splits(children: Positions, column: Positions) -> tuple[list[Positions], Positions, int]:
    """Return the splitting nodes by level, `before` of each node, and how many different columns a path has at most."""
    inner = children[0] >= 0
    known, place = np.unique(column, return_inverse=True)
    before, most, levels = np.zeros(children.shape[1], dtype=np.intp), 0, []
    level = np.flatnonzero(inner[:1])
    last = np.zeros((len(level), len(known)), dtype=np.int32)  # by column, the node below its last split; 0 for none
    while len(level):
        levels.append(level)
        at, own, further = np.arange(len(level)), place[level], []
        for below in children[:, level]:
            before[below] = last[at, own]
            after = last.copy()
            after[at, own] = below
            leaf = ~inner[below]
            if leaf.any():
                most = max(most, int((after[leaf] > 0).sum(axis=1).max()))
            further.append((below[~leaf], after[~leaf]))
        level, last = (np.concatenate(parts) for parts in zip(*further, strict=True))
    return levels, before, most


class _Tables:
    """What a split does to a path's product and adds to its column, by how a row goes there.

    A row goes one of three ways: it failed a split by the same column before, or it goes left, or right. A column's
    factor is share (1 - t) where a row fails one of its splits, and t more where it passes all. `factors` are
    (nodes, ways, points), `slopes` (nodes, points, ways): of each node, by the way at the split above it. Leaves are
    not visited: what those right below a split add is in `leaf_factors`, (splits, outputs, ways, points), and
    `leaf_slopes`, at the place `leaves` of the split, which is -1 where it has none.
    """

    def __init__(self, tree: _Tree) -> None:
        points, weights = np.polynomial.legendre.leggauss(tree.points)
        points, self.start = (points + 1) / 2, weights / 2
        inner = np.flatnonzero(tree.children[0] >= 0)
        failed = tree.share[:, None] * (1 - points)
        passed = failed + points
        slope = (1 - tree.share[:, None]) / passed
        passed_before, slope_before = passed[tree.before], slope[tree.before]
        self.factors = np.empty((len(failed), 3, tree.points))
        self.slopes = np.zeros((len(failed), tree.points, 3))
        self.factors[:, 0] = (tree.share / tree.share[tree.before])[:, None]
        for below, passes in zip(tree.children[:, inner], (1, 2), strict=True):
            fails = 3 - passes
            self.factors[below, passes] = passed[below] / passed_before[below]
            self.factors[below, fails] = failed[below] / passed_before[below]
            self.slopes[below, :, passes] = slope[below] - slope_before[below]
            self.slopes[below, :, fails] = -1 / (1 - points) - slope_before[below]
        self._add_leaves(tree, inner)
        self.column, self.children = tree.column.tolist(), tree.children.T.tolist()

    def _add_leaves(self, tree: _Tree, inner: Positions) -> None:
        above = np.empty(len(tree.share), dtype=np.intp)
        above[tree.children[:, inner]] = inner
        leaf = np.flatnonzero(tree.children[0] < 0)
        splits, where = np.unique(above[leaf], return_inverse=True)
        added = tree.values[leaf, :, None, None] * self.factors[leaf, None]
        shape = (len(splits), *added.shape[1:])
        self.leaf_factors, leaf_slopes = np.zeros(shape), np.zeros(shape)
        np.add.at(self.leaf_factors, where, added)
        np.add.at(leaf_slopes, where, added * self.slopes[leaf].swapaxes(1, 2)[:, None])
        self.leaf_slopes = np.ascontiguousarray(leaf_slopes.swapaxes(2, 3))
        leaves = np.full(len(above), -1)
        leaves[splits] = np.arange(len(splits))
        self.leaves: list[int] = leaves.tolist()


class _TreeWalk:
    """One way down and up a tree with some rows, given by `columns` and their `gaps`, (columns, rows)."""

    def __init__(self, tree: _Tree, tables: _Tables, columns: Numbers, gaps: npt.NDArray[np.bool_]) -> None:
        self._tables, rows = tables, columns.shape[1]
        self._ways = _ways(tree, columns, gaps)
        self._first_way = 3 * np.arange(rows)
        self._phi = np.zeros((len(columns), len(tree.outputs), rows))

    def phi(self) -> Numbers:
        """Return what this tree adds to the SHAP values, (rows, columns, its outputs)."""
        start = self._tables.start
        self._visit(0, np.broadcast_to(start, (len(self._first_way), len(start))))
        return self._phi.transpose(2, 0, 1)

    def _visit(self, node: int, product: Numbers) -> Numbers:
        """Return the sum over the leaves below of value and product, (outputs, rows, points)."""
        tables, ways = self._tables, self._ways[node].astype(np.intp)
        below: Numbers | None = None
        slopes: Numbers | None = None
        if (leaves := tables.leaves[node]) >= 0:
            slopes = product @ tables.leaf_slopes[leaves]
            below = tables.leaf_factors[leaves].take(ways, axis=1)
            below *= product
        for child in tables.children[node]:
            if tables.children[child][0] < 0:
                continue
            further = tables.factors[child].take(ways, axis=0)
            further *= product
            found = self._visit(child, further)
            if below is None or slopes is None:
                below, slopes = found, found @ tables.slopes[child]
            else:
                slopes += found @ tables.slopes[child]
                below += found
        assert below is not None  # noqa: S101 - for the type checker: a split has children
        assert slopes is not None  # noqa: S101 - as above
        ways += self._first_way
        self._phi[tables.column[node]] += slopes.reshape(len(slopes), -1).take(ways, axis=1)
        return below


def _ways(tree: _Tree, columns: Numbers, gaps: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Return which way each row goes at each split, (nodes, rows): 1 left, 2 right, 0 where it failed before."""
    passes = np.ones((len(tree.share), columns.shape[1]), dtype=np.bool_)
    ways = np.zeros(passes.shape, dtype=np.int8)
    any_gaps = bool(gaps.any())
    for level in tree.levels:
        left, right = tree.children[:, level]
        goes_left = columns[tree.column[level]] <= tree.threshold[level, None]
        if any_gaps:
            goes_left |= gaps[tree.column[level]] & tree.missing_left[level, None]
        passed_before = passes[tree.before[left]]
        passes[left], passes[right] = passed_before & goes_left, passed_before & ~goes_left
        ways[level] = passes[left] + np.int8(2) * passes[right]
    return ways


_RAW: dict[str, dict[str, Any]] = {
    "lightgbm": {"raw_score": True},
    "catboost": {"prediction_type": "RawFormulaVal"},
    "xgboost": {"output_margin": True},
}
"""How each library is asked for log odds."""


class BoostedStep:
    """TreeSHAP of XGBoost's, LightGBM's and CatBoost's models, by each library itself, which knows its categories."""

    method: ClassVar[Method] = "TreeSHAP"
    rounding: ClassVar[float] = 1e-4  # XGBoost adds up in float32
    work = 0.0

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        self._classes = len(estimator.classes_) if hasattr(estimator, "predict_proba") else 0
        self._library = library_of(estimator)
        self.base: Numbers = np.zeros(self._classes if self._classes > 2 else 1)

    def phi(self, encoded: Any) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of rows as the estimator takes them, and note the base."""
        try:
            contributions = np.asarray(self._contributions(encoded), dtype=np.float64)
        except Exception as error:
            # each library has errors of its own, and each means that it does not explain this kind of model
            first = str(error).partition("\n")[0]
            raise ExplanationError(
                f"{self._library} cannot explain {type(self._estimator).__name__}: {first}"
            ) from error
        if contributions.ndim == 2:
            outputs = len(self.base)
            contributions = contributions.reshape(len(contributions), outputs, -1)
        # (rows, outputs, columns and the base)
        self.base = contributions[0, :, -1]
        return np.asarray(contributions[:, :, :-1].transpose(0, 2, 1))

    def _contributions(self, encoded: Any) -> Any:
        model = self._estimator
        if self._library == "lightgbm":
            return model.predict(encoded, pred_contrib=True)
        if self._library == "catboost":
            from catboost import Pool  # noqa: PLC0415 - only where such a model is

            return model.get_feature_importance(
                Pool(encoded, cat_features=model.get_cat_feature_indices()), "ShapValues"
            )
        from xgboost import DMatrix  # noqa: PLC0415 - as above

        best = getattr(model, "best_iteration", None) if model.get_params().get("early_stopping_rounds") else None
        booster = model.get_booster()
        named = None if hasattr(encoded, "columns") else booster.feature_names
        rows = DMatrix(encoded, enable_categorical=True, feature_names=named)
        return booster.predict(rows, pred_contribs=True, iteration_range=(0, 0 if best is None else best + 1))

    def answers(self, encoded: Any) -> Iterator[tuple[Unit, Numbers]]:
        """Yield what the values may add up to, (rows, outputs), with its unit."""
        if self._classes:
            yield "log odds", two_dimensional(self._estimator.predict(encoded, **_RAW[self._library]))
        else:
            yield "target", two_dimensional(self._estimator.predict(encoded))


def as_fitted(estimator: Any, encoded: Numbers) -> Any:
    """Return encoded rows with the names that the estimator was fitted with, if it was."""
    names = getattr(estimator, "feature_names_in_", None)
    return encoded if names is None else pd.DataFrame(encoded, columns=names)


def two_dimensional(answers: Any) -> Numbers:
    """Return answers as (rows, outputs)."""
    values = np.asarray(answers, dtype=np.float64)
    return values if values.ndim == 2 else values[:, None]
