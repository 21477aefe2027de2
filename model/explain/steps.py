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
        rows = _as_fitted(self._estimator, given)
        if not hasattr(self._estimator, "predict_proba"):
            yield "target", _two_dimensional(self._estimator.predict(rows))
            return
        yield "probability", np.asarray(self._estimator.predict_proba(rows))
        if hasattr(self._estimator, "decision_function"):
            yield "log odds", _two_dimensional(self._estimator.decision_function(rows))

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
    Where there is no node `before`, it is the root. `values` are (nodes, outputs).
    """

    left: list[int]
    right: list[int]
    column: list[int]
    threshold: list[float]
    missing_left: list[bool]
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
        for start in range(0, len(rows), _MAX_ROWS):
            part = slice(start, start + _MAX_ROWS)
            columns, gaps = np.ascontiguousarray(rows[part].T), np.isnan(rows[part].T)
            for tree in self._trees:
                if tree.points:
                    added = _TreeWalk(tree, columns, gaps).phi()
                    found[part][:, :, tree.outputs] += added
        if self._outputs == 2 and all(len(tree.outputs) == 1 for tree in self._trees):
            found[:, :, 0] = -found[:, :, 1]
        return found


def _read_tree(parsed: Any, place: int) -> _Tree:
    left, right, default, column = (
        getattr(parsed, name)[place].tolist()
        for name in ("children_left", "children_right", "children_default", "features")
    )
    weights, values = parsed.node_sample_weight[place], parsed.values[place]
    size = 1 + max(*left, *right, 0)
    before, share = np.zeros(size, dtype=np.intp), np.ones(size)
    most = 0
    waiting: list[tuple[int, dict[int, int]]] = [(0, {})]
    while waiting:
        node, last = waiting.pop()
        if left[node] < 0:
            most = max(most, len(last))
            continue
        for child in (left[node], right[node]):
            before[child] = last.get(column[node], 0)
            share[child] = share[before[child]] * weights[child] / weights[node]
            waiting.append((child, last | {column[node]: child}))
    outputs = np.flatnonzero(values[:size].any(axis=0))
    # two classes: their probabilities add up to one, so that the values of one are those of the other with another sign
    if values.shape[1] == 2 and np.allclose(values[:size].sum(axis=1), values[0].sum(), rtol=1e-9):
        outputs = np.array([1])
    return _Tree(
        left=left[:size],
        right=right[:size],
        column=column[:size],
        threshold=parsed.thresholds[place].tolist()[:size],
        missing_left=[one == other for one, other in zip(default[:size], left[:size], strict=True)],
        before=before,
        share=share,
        values=values[:size, outputs],
        outputs=outputs,
        points=min((most + 1) // 2, _MAX_POINTS),
    )


class _TreeWalk:
    """One way down and up a tree with some rows, given by `columns` and their `gaps`, (columns, rows)."""

    def __init__(self, tree: _Tree, columns: Numbers, gaps: npt.NDArray[np.bool_]) -> None:
        self._tree, self._columns, self._gaps = tree, columns, gaps
        self._any_gaps: npt.NDArray[np.bool_] = np.asarray(gaps.any(axis=1))
        points, self._weights = np.polynomial.legendre.leggauss(tree.points)
        points = (points + 1) / 2
        # a column's factor is share (1 - t) where a row fails one of its splits and t more where it passes all; by
        # state: failed before, fails here, passes
        failed = tree.share[:, None] * (1 - points)
        passed = failed + points
        failed_before, passed_before = failed[tree.before], passed[tree.before]
        factors = np.stack([failed / failed_before, failed / passed_before, passed / passed_before], axis=1)
        self._single = len(tree.outputs) == 1
        if self._single:  # a leaf's value joins its factors, so that a leaf needs no visit
            leaves = np.array(tree.left) < 0
            factors[leaves] *= tree.values[leaves, 0, None, None]
        slope_failed, slope_passed = -tree.share[:, None] / failed, (1 - tree.share[:, None]) / passed
        before_failed, before_passed = slope_failed[tree.before], slope_passed[tree.before]
        slopes = np.stack(
            [slope_failed - before_failed, slope_failed - before_passed, slope_passed - before_passed], axis=1
        )
        # both children at once, (nodes, left's states and right's, points)
        pairs, shape = np.array([tree.left, tree.right]).T, (len(tree.left), 6, tree.points)
        self._factors, self._slopes = factors[pairs].reshape(shape), slopes[pairs].reshape(shape)
        self._passes: dict[Any, npt.NDArray[np.int8]] = {0: np.ones(columns.shape[1], dtype=np.int8)}
        self._phi = np.zeros((len(columns), columns.shape[1], len(tree.outputs)))

    def phi(self) -> Numbers:
        """Return what this tree adds to the SHAP values, (rows, columns, its outputs)."""
        below = np.broadcast_to(self._weights / 2, (self._columns.shape[1], len(self._weights)))
        self._visit(0, below)
        return self._phi.transpose(1, 0, 2)

    def _visit(self, node: int, product: Numbers) -> Numbers:
        """Return the sum over the leaves below of value and product, (rows, points) or (rows, points, outputs)."""
        tree, column = self._tree, self._tree.column[node]
        children = tree.left[node], tree.right[node]
        passed_before = self._passes[tree.before[children[0]]]
        passes = passed_before & self._goes(node)
        state = (passed_before + passes).astype(np.intp)
        state[1] += 3
        products = self._factors[node].take(state, axis=0)
        products *= product
        below = products if self._single else np.empty((*products.shape, len(tree.outputs)))
        for place, child in enumerate(children):
            if tree.left[child] >= 0:
                self._passes[child] = passes[place]
                below[place] = self._visit(child, products[place])
                del self._passes[child]
            elif not self._single:
                below[place] = products[place][:, :, None] * tree.values[child]
        slopes = self._slopes[node].take(state, axis=0)
        if self._single:
            self._phi[column, :, 0] += np.einsum("crp,crp->r", slopes, below)
        else:
            self._phi[column] += np.einsum("crp,crpo->ro", slopes, below)
        return np.asarray(below[0] + below[1])

    def _goes(self, node: int) -> npt.NDArray[np.bool_]:
        """Return which rows go to the left child, and which to the right one, (2, rows)."""
        column = self._tree.column[node]
        left = self._columns[column] <= self._tree.threshold[node]
        if self._tree.missing_left[node] and self._any_gaps[column]:
            left |= self._gaps[column]
        return np.array([left, ~left])


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
            yield "log odds", _two_dimensional(self._estimator.predict(encoded, **_RAW[self._library]))
        else:
            yield "target", _two_dimensional(self._estimator.predict(encoded))


class LinearStep:
    """Shapley values of a linear model: coefficient times the distance from the mean of the background rows."""

    method: ClassVar[Method] = "linear SHAP"
    work = 0.0
    rounding: ClassVar[float] = 1e-6

    def __init__(self, estimator: Any, background_mean: Numbers) -> None:
        self._estimator = estimator
        self._coefficients = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
        self._mean = background_mean

    @property
    def base(self) -> Numbers:
        """Return the answer at the mean of the background rows, (outputs,)."""
        return np.asarray(self._coefficients @ self._mean + self._estimator.intercept_, dtype=np.float64)

    def phi(self, encoded: Numbers) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of encoded rows (rows, columns)."""
        return np.asarray((encoded - self._mean)[:, :, None] * self._coefficients.T[None])

    def answers(self, encoded: Numbers) -> Iterator[tuple[Unit, Numbers]]:
        """Yield what the values may add up to, (rows, outputs), with its unit."""
        rows = _as_fitted(self._estimator, encoded)
        if hasattr(self._estimator, "decision_function"):
            yield "log odds", _two_dimensional(self._estimator.decision_function(rows))
        else:
            yield "target", _two_dimensional(self._estimator.predict(rows))


def _as_fitted(estimator: Any, encoded: Numbers) -> Any:
    """Return encoded rows with the names that the estimator was fitted with, if it was."""
    names = getattr(estimator, "feature_names_in_", None)
    return encoded if names is None else pd.DataFrame(encoded, columns=names)


def _two_dimensional(answers: Any) -> Numbers:
    values = np.asarray(answers, dtype=np.float64)
    return values if values.ndim == 2 else values[:, None]
