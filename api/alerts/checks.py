"""Owns which checks become alerts: their names, how bad each is, and how a window shows that it computed one."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AlertRule:
    """The alert of one check; a window computed the check if it has a value called one of ``measures``."""

    check: str
    alertname: str
    title: str
    severity: Literal["critical", "warning"]
    measures: tuple[str, ...]


RULES = (
    AlertRule("data_drift", "ModelDataDrift", "Data drift", "warning", ("data_drift",)),
    AlertRule("prediction_drift", "ModelPredictionDrift", "Prediction drift", "warning", ("prediction_drift",)),
    AlertRule("target_drift", "ModelTargetDrift", "Target drift", "warning", ("target_drift",)),
    AlertRule("concept_drift", "ModelConceptDrift", "Concept drift", "critical", ("concept_z",)),
    AlertRule(
        "attribution_drift",
        "ModelAttributionDrift",
        "Attribution drift",
        "warning",
        ("attribution_ndcg", "attribution_distance"),
    ),
    AlertRule("data_quality", "ModelDataQuality", "Bad data quality", "warning", ("missing_share",)),
    AlertRule("performance", "ModelPerformance", "Worse performance", "critical", ("accuracy", "mean_absolute_error")),
)
"""Critical is what says that answers are wrong; the rest says that the world has changed and they may become so."""
