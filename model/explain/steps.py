"""SHAP values of the last step of a pipeline, in terms of its encoded columns."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimators import library_of
from model.errors import ExplanationError

Numbers = npt.NDArray[np.float64]
Method = Literal["TreeSHAP", "linear SHAP"]
Unit = Literal["probability", "log odds", "target"]


class ExplainedStep(Protocol):
    """What attributes the answers of an estimator to its columns."""

    method: ClassVar[Method]
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
    rounding: ClassVar[float] = 1e-6

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

    @property
    def base(self) -> Numbers:
        """Return what is answered with nothing known, (outputs,): the trees' mean over their training rows."""
        return np.atleast_1d(np.asarray(self._trees.expected_value, dtype=np.float64))

    def phi(self, encoded: Numbers) -> Numbers:
        """Return the SHAP values, (rows, columns, outputs), of encoded rows (rows, columns)."""
        # additivity is proven when a model is loaded; shap's own check refuses the rounding of float32 thresholds
        given = self._as_compared(encoded)
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
