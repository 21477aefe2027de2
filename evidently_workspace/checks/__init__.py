"""The checks of a snapshot. Each is declared here and nowhere else; imports neither Evidently nor pandas.

The names in the HTTP interface, the alerts, the demo's table and the order of the benchmark's figures follow from it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and the alert that it becomes.

    A window computed the check if it has a value called one of `measures`. A critical alert says that predictions are
    wrong; a warning says that the data have changed, so that predictions may become wrong.
    """

    name: str
    title: str
    measures: tuple[str, ...]
    alertname: str
    severity: Literal["critical", "warning"]


CHECKS = (
    Check("data_drift", "Data drift", ("data_drift",), "ModelDataDrift", "warning"),
    Check("prediction_drift", "Prediction drift", ("prediction_drift",), "ModelPredictionDrift", "warning"),
    Check("target_drift", "Target drift", ("target_drift",), "ModelTargetDrift", "warning"),
    Check("concept_drift", "Concept drift", ("concept_z",), "ModelConceptDrift", "critical"),
    Check(
        "attribution_drift",
        "Attribution drift",
        ("attribution_ndcg", "attribution_distance"),
        "ModelAttributionDrift",
        "warning",
    ),
    Check("data_quality", "Bad data quality", ("missing_share",), "ModelDataQuality", "warning"),
    Check("performance", "Worse performance", ("accuracy", "mean_absolute_error"), "ModelPerformance", "critical"),
)

if TYPE_CHECKING:
    CheckName: TypeAlias = str
else:
    CheckName = Literal[tuple(check.name for check in CHECKS)]
"""The name of one of the checks; pydantic refuses any other, and a type checker sees a text."""

STATISTICS: dict[tuple[str, str | None], str] = {
    ("data_drift", None): "data_drift",
    ("prediction_drift", None): "prediction_drift",
    ("target_drift", None): "target_drift",
    ("concept_drift", None): "concept_z",
    ("concept_drift", "size_z"): "concept_size_z",
    ("concept_drift", "bias_z"): "concept_bias_z",
    ("attribution_drift", "ndcg"): "attribution_ndcg",
    ("attribution_drift", "distance"): "attribution_distance",
    ("data_quality", "missing"): "missing_share",
    ("data_quality", "out_of_range"): "out_of_range_share",
    ("data_quality", "new_category"): "new_category_share",
    ("data_quality", "stuck"): "stuck_share",
    ("performance", "accuracy"): "accuracy",
    ("performance", "recall"): "recall_by_class",
    ("performance", "mean_absolute_error"): "mean_absolute_error",
}
"""The value of a window that has a threshold, by the check and the measure that fail beyond it."""
