"""Evidently metrics of attributions: how much each feature moves the model's answers, and whether that changed."""

from typing import Any

import numpy as np
from evidently import Dataset
from evidently.core.metric_types import ByLabelCalculation, ByLabelMetric, ByLabelValue
from numpy.typing import NDArray

from evidently_workspace.both_sides import BothSidesCalculation
from model.attribution_drift import attribution_distance, attribution_ndcg

NDCG, DISTANCE = "ndcg", "distance"


class MeanAttribution(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Mean |SHAP| of each of the `columns`, which hold |SHAP| row by row."""

    columns: list[str]


class MeanAttributionCalculation(BothSidesCalculation[MeanAttribution]):
    """Calculates MeanAttribution on the window, and on the reference beside it."""

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Mean |SHAP|"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()} of {label}"

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        means = mean_attributions(dataset, self.metric.columns)
        return self.result(dict(zip(self.metric.columns, means.tolist(), strict=True)))


class AttributionDrift(ByLabelMetric):  # type: ignore[misc]
    """nDCG and distance (see model.attribution_drift) of the mean |SHAP| of the `columns`."""

    columns: list[str]


class AttributionDriftCalculation(ByLabelCalculation[AttributionDrift]):  # type: ignore[misc]
    """Calculates AttributionDrift of the window against the reference, which it needs."""

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> ByLabelValue:
        """Return the result; ValueError without a reference."""
        del context
        if reference_data is None:
            raise ValueError("attribution drift needs a reference")
        reference, current = (mean_attributions(data, self.metric.columns) for data in (reference_data, current_data))
        values = {
            NDCG: attribution_ndcg(reference, current),
            DISTANCE: attribution_distance(reference, current),
        }
        return self.result(values)

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Attribution drift"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()}, {'nDCG' if label == NDCG else label}"


def mean_attributions(dataset: Dataset, columns: list[str]) -> NDArray[np.float64]:
    """Return the mean of each column (features,)."""
    rows: NDArray[np.float64] = dataset.as_dataframe()[columns].to_numpy("float64")
    return np.asarray(rows.mean(axis=0))
