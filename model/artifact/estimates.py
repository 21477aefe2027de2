"""What an artifact keeps to estimate a model's performance before labels come."""

from itertools import pairwise
from math import log
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from model.artifact.traffic import Frozen

Score = Literal["accuracy", "f1", "roc_auc", "mae", "rmse"]

DISTANCE = "estimate_distance"
"""The value of a window that says how far its true score was from the estimate, in intervals; its column is the score.
"""


class Excess(Frozen):
    """How far a score of windows of one length strays from its estimate beyond chance, as a standard deviation."""

    score: Score
    interval_seconds: int = Field(ge=1)
    deviation: float = Field(ge=0)
    windows: int = Field(description="Windows of held-out rows that it was found on.")


class CalibrationCurve(Frozen):
    """The chance of one class, given the probability that the model says: piecewise linear in log odds."""

    log_odds: tuple[float, ...] = Field(min_length=2, description="Of the model's probability; ascending.")
    calibrated: tuple[float, ...] = Field(description="Log odds of the chance, one per knot.")
    precision: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] = Field(
        description="Inverse covariance of these: the diagonal and the two below it, filled up with zeros."
    )

    @model_validator(mode="after")
    def _has_one_value_per_knot(self) -> Self:
        if any(len(one) != len(self.log_odds) for one in (self.calibrated, *self.precision)):
            raise ValueError("the curve and its knots differ in length")
        if any(low >= high for low, high in pairwise(self.log_odds)):
            raise ValueError("log_odds must ascend")
        return self


class _WithExcess(Frozen):
    rows: int = Field(description="Out-of-fold, test and reference rows that it was fitted on.")
    excess: tuple[Excess, ...] = Field(
        (), description="By score and length of window; none where the rows have no times."
    )

    def excess_deviation(self, score: str, seconds: float | None) -> float:
        """Return the deviation beyond chance in windows of this length, interpolated between the known lengths."""
        known = sorted((one.interval_seconds, one.deviation) for one in self.excess if one.score == score)
        if not known or seconds is None:
            return 0.0
        if seconds <= known[0][0]:
            return known[0][1]
        for (shorter, low), (longer, high) in pairwise(known):
            if seconds <= longer:
                return low + (high - low) * log(seconds / shorter) / log(longer / shorter)
        return known[-1][1]


class ClassEstimates(_WithExcess):
    """What is needed to estimate accuracy, F1 and ROC AUC."""

    task: Literal["classification"] = "classification"
    curves: tuple[CalibrationCurve, ...] = Field(
        min_length=1, description="One per class, in their order; of two classes only the last has one."
    )


class Node(NamedTuple):
    """A node of a tree: rows whose column is at most the threshold go left. A leaf leads to itself, and has a value."""

    column: int
    threshold: float
    left: int
    right: int
    value: float


class ErrorColumn(Frozen):
    """A column that errors depend on, as a number."""

    name: str
    filler: float = Field(description="In place of a missing value or an unknown category.")
    categories: dict[str, float] | None = Field(None, description="Category to number; null for numbers.")


class ErrorTrees(Frozen):
    """A sum of small trees: the expected absolute, or squared, error of a row."""

    baseline: float
    lowest: float = Field(ge=0, description="No row is expected to have less.")
    trees: tuple[tuple[Node, ...], ...]


class NumberEstimates(_WithExcess):
    """What is needed to estimate the mean absolute error and the root mean squared error."""

    task: Literal["regression"] = "regression"
    columns: tuple[ErrorColumn, ...] = Field(min_length=1, description="Features, and last the prediction.")
    absolute: ErrorTrees
    squared: ErrorTrees
    absolute_factor: float = Field(ge=0, description="Variance of |error|, in squares of its expectation.")
    squared_factor: float = Field(ge=0, description="The same of the squared error.")


Estimates = ClassEstimates | NumberEstimates


class EstimatesFile(Frozen):
    """The content of the artifact's file of estimates."""

    estimates: Estimates = Field(discriminator="task")
