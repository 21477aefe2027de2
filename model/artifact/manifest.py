"""What an artifact folder says about its model: schema, quality, data, calibration, thresholds, file hashes."""

from itertools import pairwise
from math import sqrt
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, AwareDatetime, Field, StrictBool, StrictInt, StrictStr, model_validator

from model.artifact.traffic import Frozen, OwnReference, ThresholdOverride, TrafficAlarms

PREDICTION = "prediction"
"""Frame column: the predicted class name."""
LABEL = "label"
"""Frame column: the true class name."""
PROBABILITY_PREFIX = "probability_"
"""Frame columns: one per class, this prefix and the class name."""

FeatureType = Literal["number", "category", "boolean"]
NumberNotation = Literal["point", "comma", "time"]
"""How numbers are written as text: a decimal point or comma, with currency, percent and thousands; or a time of day."""
DriftMethod = Literal["wasserstein", "jensenshannon"]
Engine = Literal["onnx", "scikit-learn", "elsewhere"]
"""What computes the answers; elsewhere: another program, whose predictions are sent here to be watched."""
AnswerRule = Literal["most probable", "own predict"]
"""What decides which class is answered: the largest probability, or the model's own `predict`."""
Task = Literal["classification", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
EstimatorName = Literal["random_forest", "hist_gradient_boosting", "logistic_regression", "linear_regression"]
ESTIMATOR_NAMES: tuple[EstimatorName, ...] = get_args(EstimatorName)
DEFAULT_ESTIMATOR: EstimatorName = "random_forest"
Value = float | str | bool | None
"""One cell of a row; None is a missing value."""
AlarmKind = Literal["time", "learn", "rows"]
ALARM_KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)
"""What alarms rest on: training rows cut in time, the service's own first windows, or rows as if drawn at random."""


def _plain_file_name(name: str) -> str:
    if name in {"", ".", ".."} or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, AfterValidator(_plain_file_name)]


class Feature(Frozen):
    """One input column of the model."""

    name: str
    type: FeatureType
    unit: str | None = None
    description: str | None = Field(None, description="What the value means, as given at training.")
    minimum: float | None = Field(None, description="Smallest value seen in training; numbers only.")
    maximum: float | None = Field(None, description="Largest value seen in training; numbers only.")
    categories: tuple[str, ...] | None = Field(None, description="Values seen in training; categories only.")
    other: str | None = Field(None, description="What stands for all other values; null where each is its own.")
    notation: NumberNotation | None = Field(
        None, description="How numbers are written that are not plain JSON numbers."
    )
    missing: tuple[str, ...] | None = Field(
        None, description="Texts, in lower case, that mean a missing value; null for the usual ones."
    )
    nullable: bool = Field(description="Whether a prediction may leave this value out (null).")
    clip: tuple[float, float] | None = Field(
        None, description="The numbers that the model was seen to answer; others count as the nearer end. Null: all."
    )
    closed: bool = Field(False, description="Whether a category that training has not seen is refused.")
    example: Value

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take the state of a saved pipeline, which may be older than some of the fields."""
        super().__setstate__(state)
        for name, field in type(self).model_fields.items():
            self.__dict__.setdefault(name, field.default)


class WindowThreshold(Frozen):
    """Calibrated alarm thresholds of one statistic, by the number of rows in the window."""

    window_rows: tuple[int, ...] = Field(min_length=1, description="Window sizes, ascending.")
    thresholds: tuple[float, ...] = Field(description="One per window size; alarm if the statistic >= threshold.")
    floor: float = Field(0.0, ge=0, description="The smallest value of the statistic worth an alarm.")

    @model_validator(mode="after")
    def _grid_is_usable(self) -> Self:
        if len(self.window_rows) != len(self.thresholds):
            raise ValueError("window_rows and thresholds differ in length")
        if self.window_rows[0] < 1 or any(low >= high for low, high in pairwise(self.window_rows)):
            raise ValueError("window_rows must be positive and ascending")
        return self

    def at(self, rows: int) -> float:
        """Return the alarm threshold for a window of `rows` non-missing values, never below the floor.

        Between two sizes of the grid it is interpolated linearly in 1/sqrt(rows), the rate at which the
        sampling error of a distance between distributions shrinks; outside the grid the end value holds.
        """
        return max(self.floor, self._interpolated(rows))

    def _interpolated(self, rows: int) -> float:
        if rows <= self.window_rows[0]:
            return self.thresholds[0]
        grid = zip(self.window_rows, self.thresholds, strict=True)
        for (fewer, high), (more, low) in pairwise(grid):
            if rows <= more:
                share = (1 / sqrt(fewer) - 1 / sqrt(rows)) / (1 / sqrt(fewer) - 1 / sqrt(more))
                return high + share * (low - high)
        return self.thresholds[-1]


class DriftThreshold(WindowThreshold):
    """Alarm thresholds of one column's distance from the reference."""

    column: str = Field(description="A feature's name, or 'prediction', or 'label'.")
    method: DriftMethod


class ConceptThreshold(WindowThreshold):
    """Alarm thresholds of the concept drift z; an alarm needs z >= `at(rows)` and gap >= `gap_floor`."""

    gap_floor: float = Field(
        0.05,
        ge=0,
        description="The smallest excess worth an alarm: of the error rate, or of the error in the target's unit.",
    )


class Calibration(Frozen):
    """How often a prediction is right, given its probability: piecewise linear through the knots, and monotone."""

    probabilities: tuple[float, ...] = Field(min_length=2, description="Of the predicted class; ascending.")
    calibrated: tuple[float, ...] = Field(description="Chance that the prediction is right, one per knot.")
    rows: int = Field(description="Out-of-fold and test rows that it was fitted on.")
    method: Literal["logistic", "isotonic"] = "logistic"

    @model_validator(mode="after")
    def _is_monotone_chance(self) -> Self:
        if len(self.probabilities) != len(self.calibrated):
            raise ValueError("probabilities and calibrated differ in length")
        if any(low >= high for low, high in pairwise(self.probabilities)):
            raise ValueError("probabilities must ascend")
        if any(low > high for low, high in pairwise(self.calibrated)):
            raise ValueError("calibrated must not fall")
        # a chance of exactly 0 or 1 would make the concept drift z infinite
        if not 0 < self.calibrated[0] <= self.calibrated[-1] < 1:
            raise ValueError("calibrated must lie between 0 and 1")
        return self


class ErrorCalibration(Frozen):
    """How far off a number is expected to be, given the number predicted: piecewise linear through the knots."""

    predictions: tuple[float, ...] = Field(min_length=2, description="Predicted numbers; ascending.")
    mean_error: tuple[float, ...] = Field(description="Expected prediction - label, one per knot.")
    error_spread: tuple[float, ...] = Field(description="Standard deviation of prediction - label, one per knot.")
    absolute_error: tuple[float, ...] = Field(description="Expected |prediction - label|, one per knot.")
    absolute_spread: tuple[float, ...] = Field(description="Standard deviation of |prediction - label|, one per knot.")
    rows: int = Field(description="Out-of-fold and test rows that it was fitted on.")

    @model_validator(mode="after")
    def _has_one_value_per_knot(self) -> Self:
        curves = (self.mean_error, self.error_spread, self.absolute_error, self.absolute_spread)
        if any(len(curve) != len(self.predictions) for curve in curves):
            raise ValueError("the curves and predictions differ in length")
        if any(low >= high for low, high in pairwise(self.predictions)):
            raise ValueError("predictions must ascend")
        # a standard deviation of exactly 0 would make the concept drift z infinite
        if min(*self.error_spread, *self.absolute_spread) <= 0 or min(self.absolute_error) < 0:
            raise ValueError("standard deviations must be positive, and absolute errors not negative")
        return self


class AnswerColumns(Frozen):
    """The columns of a file that hold what a model answered elsewhere."""

    prediction: str
    probabilities: dict[str, str] = Field(
        default_factory=dict,
        description="Class to column; none where the model gives no probabilities, one where the other class has the "
        "rest.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns."""
        return (self.prediction, *self.probabilities.values())


class Attributions(Frozen):
    """How much each original feature moved the model's answers on the reference."""

    mean_absolute: dict[str, float] = Field(
        description="Feature to mean |phi|: signed parts of one feature added up first, then averaged over classes."
    )
    method: Literal["TreeSHAP", "linear SHAP"] = "TreeSHAP"
    unit: Literal["probability", "log odds", "target"] = Field(
        "probability", description="Of the predictions that phi add up to."
    )
    rows: int = Field(description="Reference rows explained.")


class ClassQuality(Frozen):
    """How well one class is recognised on the test set; `rows` is how often it truly occurs."""

    rows: int
    precision: float
    recall: float
    f1: float


class HoldOutQuality(Frozen):
    """How well the served model does on rows never seen in training; averages over classes are unweighted."""

    rows: int
    correct: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    log_loss: float | None = Field(description="Null where the predictions have no probabilities.")
    roc_auc: float | None = Field(description="One-vs-rest mean; null where it is not defined.")
    per_class: dict[str, ClassQuality]


class RegressionQuality(Frozen):
    """How far off a regression model is on rows never seen in training; errors in the unit of the target."""

    rows: int
    mean_absolute_error: float
    root_mean_squared_error: float
    median_absolute_error: float
    largest_absolute_error: float
    mean_error: float = Field(description="Mean of prediction - label: above 0 where predictions are too high.")
    r2: float | None = Field(description="Share of the labels' variance explained; null where they do not vary.")


class Parity(Frozen):
    """How the ONNX model compares with the scikit-learn pipeline it was made from."""

    rows: int = Field(description="Rows compared, with copies that have missing and unseen values.")
    max_probability_difference: float | None = Field(description="Null when there was nothing to compare.")
    class_disagreements: int | None
    reason: str | None = Field(description="Why ONNX does not serve; null when it does.")


class RegressionParity(Frozen):
    """How the ONNX model of a regressor compares with the scikit-learn pipeline it was made from."""

    rows: int = Field(description="Rows compared, with copies that have missing and unseen values.")
    max_difference: float | None = Field(
        description="Of two answers to a row, in standard deviations of the target; null if there were no two answers."
    )
    reason: str | None = Field(description="Why ONNX does not serve; null when it does.")


class NumberRange(Frozen):
    """The numbers that a column held: smallest, mean, largest, standard deviation."""

    minimum: float
    maximum: float
    mean: float
    standard_deviation: float = Field(gt=0)
    unit: str | None = None


class DataCard(Frozen):
    """Where the training data came from and how its rows were divided."""

    source: str
    rows: int
    train_rows: int
    test_rows: int
    reference_rows: int
    fingerprint: Sha256


class ModelManifest(Frozen):
    """What is known of a trained model, for both tasks."""

    format: Literal[2] = 2
    name: str
    version: str
    created_at: AwareDatetime
    features: tuple[Feature, ...] = Field(min_length=1, description="In the order of a row.")
    target: str
    metadata: tuple[str, ...] = Field((), description="More columns of a row: logged, and never given to the model.")
    dropped: dict[str, str] = Field(default_factory=dict, description="Columns of the file that are no features: why.")
    segments: tuple[str, ...] = Field((), description="Columns by whose values performance and drift are shown too.")
    fairness: tuple[str, ...] = Field((), description="Columns between whose values rates are compared.")
    estimator: str = Field("random_forest", description="Its name, or where a custom or imported pipeline came from.")
    engine: Engine
    seed: int
    data: DataCard
    attributions: Attributions | None
    attributions_missing: str | None = Field(description="Why there are no attributions; null where there are.")
    thresholds: tuple[DriftThreshold, ...]
    concept_threshold: ConceptThreshold | None = Field(description="Null where there is no calibration.")
    attribution_threshold: WindowThreshold | None = Field(
        description="Of half the sum of absolute differences of the normalised attributions."
    )
    false_alarm_rate: float = Field(
        description="Chance that any threshold (columns, concept, attributions) alarms in a window in control."
    )
    alarms: AlarmKind = Field(
        "rows",
        description="What alarms are calibrated on: training rows cut in time, the service's own first windows, or "
        "rows drawn at random.",
    )
    traffic: TrafficAlarms | None = Field(
        None, description="From where on a window cut in time is worth an alarm; null where rows alone decide."
    )
    overrides: tuple[ThresholdOverride, ...] = Field((), exclude=True)
    """Thresholds that people set for a service: in memory only, and in no artifact."""
    own_reference: OwnReference | None = Field(None, exclude=True)
    """The rows of a service's own that stand in for the artifact's reference: as above."""
    answer_columns: AnswerColumns | None = Field(
        None, description="Where files have the answers of a model that is served elsewhere; null for any other model."
    )
    libraries: dict[str, str]
    files: dict[FileName, Sha256]

    @model_validator(mode="before")
    @classmethod
    def _name_the_alarms_of_older_artifacts(cls, data: Any) -> Any:
        if isinstance(data, dict) and "alarms" not in data and data.get("traffic") is not None:
            return {**data, "alarms": "time"}
        return data

    @property
    def is_watched(self) -> bool:
        """Whether the model is served elsewhere and only watched here."""
        return self.engine == "elsewhere"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Return the names of the features in the order of a row."""
        return tuple(feature.name for feature in self.features)

    def threshold(self, column: str) -> DriftThreshold:
        """Return the drift threshold of a feature, PREDICTION or LABEL; KeyError if there is none."""
        for threshold in self.thresholds:
            if threshold.column == column:
                return threshold
        raise KeyError(column)


class ClassifierManifest(ModelManifest):
    """Everything that a server, a report or a person needs to know about a classifier."""

    task: Literal["classification"] = "classification"
    classes: tuple[StrictBool, ...] | tuple[StrictInt, ...] | tuple[StrictStr, ...] = Field(
        description="As given in JSON, in the order of the probability columns."
    )
    answer: AnswerRule = Field(
        "most probable", description="What decides the class: the largest probability, or the model's own predict."
    )
    parity: Parity
    quality: HoldOutQuality
    calibration: Calibration | None = Field(description="Null where the predictions have no probabilities.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes as text, as in frames, reports and keys of probabilities."""
        return tuple(str(value) for value in self.classes)


class RegressorManifest(ModelManifest):
    """Everything that a server, a report or a person needs to know about a model that predicts a number."""

    task: Literal["regression"] = "regression"
    label_range: NumberRange = Field(description="Of the target in the rows known at training.")
    concept_threshold: ConceptThreshold
    parity: RegressionParity
    quality: RegressionQuality
    calibration: ErrorCalibration

    @property
    def has_percentage_errors(self) -> bool:
        """Whether a percentage error says something: where no label is near zero, nor below, at training."""
        return self.label_range.minimum >= self.smallest_percentage_label > 0

    @property
    def smallest_percentage_label(self) -> float:
        """Return the smallest label that a percentage may be taken of: a twentieth of the mean label at training."""
        return self.label_range.mean / 20


Manifest = ClassifierManifest | RegressorManifest
"""Either kind; `isinstance` tells which."""
AnyManifest = Annotated[Manifest, Field(discriminator="task")]
"""The same, for reading one from JSON."""
