"""SHAP attributions of answers, in terms of the features that callers send."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimators import is_booster, plain_steps
from model.artifact.manifest import Feature
from model.artifact.pickles import load_pipeline
from model.artifact.store import PIPELINE_FILE, read_manifest, read_test, verified_bytes
from model.data.encoding import encoding_of, frame_of, pipeline_input
from model.errors import ExplanationError
from model.explain.steps import (
    BoostedStep,
    ExplainedStep,
    Method,
    Numbers,
    TreeStep,
    Unit,
    as_fitted,
    two_dimensional,
)

_TRIAL_CELLS = 1_000_000


def trial_rows(features: tuple[Feature, ...]) -> Iterator[tuple[pd.DataFrame, list[int]]]:
    """Yield for each feature rows that differ in it alone, in three blocks of equal length around three base rows.

    The values tried are all categories, a new one, a gap where one is allowed, and numbers across the range. The rows
    of some features are in one frame, with the places where each one's rows end: of all features, where these are few.
    """
    tried = [
        (*encoding_of(feature).trial_values(feature), *([None] if feature.nullable else [])) for feature in features
    ]
    most = max(len(values) for values in tried)
    # each column's base values, those tried, and no more of use
    cells = [
        [feature.example, *values[:2], *values, *[None] * (most - len(values))]
        for feature, values in zip(features, tried, strict=True)
    ]
    values, counts = frame_of(cells, features), [len(values) for values in tried]
    start, rows = 0, 0
    for place, count in enumerate(counts):
        rows += 3 * count
        if place == len(tried) - 1 or rows * len(features) > _TRIAL_CELLS:
            yield _trial_frame(values, counts, slice(start, place + 1))
            start, rows = place + 1, 0


def _trial_frame(values: pd.DataFrame, counts: list[int], varied: slice) -> tuple[pd.DataFrame, list[int]]:
    """Return the rows in which these features vary, one after the other, and where those of each end.

    `values` holds three base values of each feature, then those that are tried, of which there are so many `counts`.
    """
    ends = np.cumsum([3 * count for count in counts[varied]]).tolist()
    base = np.concatenate([np.repeat(np.arange(3), count) for count in counts[varied]])
    columns = {}
    for place, name in enumerate(values):
        taken = base
        if varied.start <= place < varied.stop:
            end, count = ends[place - varied.start], counts[place]
            taken = base.copy()
            taken[end - 3 * count : end] = np.tile(np.arange(3, 3 + count), 3)
        columns[name] = values[name].to_numpy()[taken]
    return pd.DataFrame(columns), ends


def column_owners(varies: npt.NDArray[np.bool_], features: tuple[Feature, ...]) -> list[npt.NDArray[np.intp]]:
    """Return for each feature the places of its columns among the encoded ones; raises ExplanationError.

    `varies` (features, columns) says which columns differ among the encoded trial rows of each feature.
    """
    shared = np.flatnonzero(varies.sum(axis=0) > 1)
    if len(shared):
        names = [features[place].name for place in np.flatnonzero(varies[:, shared[0]])]
        raise ExplanationError(
            f"an input of the model's last step mixes features ({', '.join(names[:5])}), so its attribution "
            "cannot be assigned to one of them"
        )
    return [np.flatnonzero(row) for row in varies]


def _varying(rows: Numbers) -> npt.NDArray[np.bool_]:
    blocks = rows.reshape(3, -1, rows.shape[1])
    first = blocks[:, :1]
    same = (blocks == first) | (np.isnan(blocks) & np.isnan(first))
    return np.asarray(~same.all(axis=(0, 1)))


Phi = npt.NDArray[np.float64]

_PROVEN_ROWS = 64


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
        rows = as_fitted(self._estimator, encoded)
        if hasattr(self._estimator, "decision_function"):
            yield "log odds", two_dimensional(self._estimator.decision_function(rows))
        else:
            yield "target", two_dimensional(self._estimator.predict(rows))


class Explainer:
    """Exact SHAP values of a fitted pipeline that ends in trees or in a linear model.

    Trees: TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2). Linear models: coefficient times the
    distance from the mean of the `background` rows, which are Shapley values where features are taken as independent
    (Strumbelj and Kononenko 2014, Knowledge and Information Systems 41). Raises ExplanationError where the pipeline
    ends in something else, where an encoded column comes from several features, or where the values do not add up
    to the model's answers on trial rows: that is proven here for each model, not assumed.

    `also`, given the work of one row, returns rows to explain in the same pass as the trial rows, as each pass over
    large trees has a price of its own; their |phi| is in `first`, as from `attributions`.
    """

    def __init__(
        self,
        pipeline: Any,
        features: tuple[Feature, ...],
        background: pd.DataFrame | None = None,
        also: Callable[[float], pd.DataFrame] | None = None,
    ) -> None:
        self._features = features
        *steps, (_, last) = plain_steps(pipeline)
        self._steps = [step for _, step in steps]
        self._takes_frames = is_booster(last)
        self._step = self._explained(last, background)
        varies, samples = [], []
        for trials, ends in trial_rows(features):
            encoded = self._encode(trials)
            varies += [_varying(rows) for rows in np.split(_as_numbers(encoded), ends[:-1])]
            # a copy: a view would keep all of these rows
            samples.append(encoded[:: max(1, len(encoded) // _PROVEN_ROWS)].copy())
        self._owners = column_owners(np.array(varies), features)
        self.method: Literal["TreeSHAP", "linear SHAP"] = self._step.method
        whole = pd.concat(samples) if isinstance(samples[0], pd.DataFrame) else np.concatenate(samples)
        self.first: Phi = np.empty((0, len(features)))
        self.unit: Unit = self._proven_unit(whole, None if also is None else self._encode(also(self.work)))

    @property
    def work(self) -> float:
        """Return how much work one row is: about how many steps of TreeSHAP, 0 where a library is fast itself."""
        return self._step.work

    @property
    def base(self) -> Phi:
        """Return what is answered with nothing known, (outputs,): the mean over the training or background rows."""
        return self._step.base

    def signed(self, rows: pd.DataFrame) -> Phi:
        """Return phi, (rows, features, outputs): with `base` they add up to the model's answers.

        There is an output for each class, or one for both of two classes. `unit` says what the answers are. `rows`
        holds the feature columns as in a frame of the artifact, missing values included. The parts of a category that
        was one-hot encoded are added up with their signs; Shapley values are additive.
        """
        if rows.empty:
            return np.empty((0, len(self._features), len(self.base)))
        return self._grouped(self._encode(rows))

    def attributions(self, rows: pd.DataFrame) -> Phi:
        """Return |phi| per original feature averaged over the outputs, (rows, features)."""
        return _absolute(self.signed(rows))

    def _explained(self, estimator: Any, background: pd.DataFrame | None) -> ExplainedStep:
        if is_booster(estimator):
            return BoostedStep(estimator)
        if not hasattr(estimator, "coef_"):
            return TreeStep(estimator)
        if background is None or background.empty:
            raise ExplanationError("a linear model needs background rows to be explained, and there are none")
        return LinearStep(estimator, self._encode(background).mean(axis=0))

    def _encode(self, rows: pd.DataFrame) -> Any:
        encoded: Any = pipeline_input(rows, self._features)
        for step in self._steps:
            encoded = step.transform(encoded)
        if hasattr(encoded, "toarray"):
            encoded = encoded.toarray()
        if self._takes_frames and isinstance(encoded, pd.DataFrame):
            return encoded
        try:
            return np.asarray(encoded, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ExplanationError(f"the last step takes something else than numbers: {error}") from error

    def _grouped(self, encoded: Any) -> Phi:
        phi = self._step.phi(encoded)
        return np.stack([phi[:, owned].sum(axis=1) for owned in self._owners], axis=1)

    def _proven_unit(self, encoded: Any, also: Any) -> Unit:
        sample = encoded[:: max(1, len(encoded) // _PROVEN_ROWS)]
        rounding = self._step.rounding
        began = process_time()
        together = isinstance(also, np.ndarray) and isinstance(sample, np.ndarray)
        phi = self._grouped(np.concatenate([sample, also]) if together else sample)
        self.proof_seconds, self.proof_rows = process_time() - began, len(phi)
        totals = phi[: len(sample)].sum(axis=1) + self.base
        if also is not None:
            self.first = _absolute(phi[len(sample) :] if together else self._grouped(also))
        for unit, answers in self._step.answers(sample):
            # a number is as large as its unit makes it, and its parts may cancel
            near = rounding * (1.0 if unit == "probability" else float(np.abs(answers).max()))
            if totals.shape == answers.shape and np.allclose(totals, answers, rtol=0, atol=near):
                return unit
        raise ExplanationError("the attributions do not add up to the predictions")


def _absolute(signed: Phi) -> Phi:
    return np.asarray(np.abs(signed).mean(axis=2))


def _as_numbers(encoded: Any) -> Numbers:
    """Return encoded rows as numbers, in which equal values of a column are equal."""
    if not isinstance(encoded, pd.DataFrame):
        return np.asarray(encoded, dtype=np.float64)
    columns = [pd.factorize(encoded.iloc[:, place])[0] for place in range(encoded.shape[1])]
    return np.column_stack(columns).astype(np.float64)


def load_explainer(folder: Path) -> Explainer:
    """Return the explainer of an artifact folder; raises ArtifactError, or ExplanationError with the reason."""
    manifest = read_manifest(folder)
    if manifest.is_watched:
        raise ExplanationError(manifest.attributions_missing or "the model is served elsewhere")
    pipeline = load_pipeline(verified_bytes(folder, manifest, PIPELINE_FILE))
    return Explainer(pipeline, manifest.features, read_test(folder))
