"""The distances by which Evidently compares a column with the reference, by the names that a manifest has for them."""

import pandas as pd
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from scipy.stats import wasserstein_distance

from model.deviation import column_deviation
from model.manifest import DriftMethod

_IN_DEVIATIONS = StatTest(
    name="wasserstein_in_deviations",
    display_name="Wasserstein, in standard deviations",
    allowed_feature_types=[ColumnType.Numerical],
    default_threshold=0.1,
)
STATTESTS: dict[DriftMethod, str] = {"wasserstein": _IN_DEVIATIONS.name, "jensenshannon": "jensenshannon"}
"""Evidently's name of each method. Its own "wasserstein" divides by no less than 0.001, whatever the unit."""


def _distance(reference: pd.Series, current: pd.Series, _kind: ColumnType, threshold: float) -> tuple[float, bool]:
    deviation = column_deviation(reference.to_numpy(dtype="float64"))
    distance = float(wasserstein_distance(reference, current)) / deviation
    return distance, distance >= threshold


register_stattest(_IN_DEVIATIONS, _distance)
