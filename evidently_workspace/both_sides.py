"""What metrics of ours have in common that are measured on the window, and on the reference beside it."""

from abc import ABC, abstractmethod
from typing import Any, TypeVar

from evidently import Dataset
from evidently.core.metric_types import ByLabelCalculation, ByLabelMetric, ByLabelValue

Metric = TypeVar("Metric", bound=ByLabelMetric)


class BothSidesCalculation(ByLabelCalculation[Metric], ABC):  # type: ignore[misc]  # Evidently ships no types
    """Calculates a metric on each of the two. ABC keeps Evidently from making it the calculation of a metric."""

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[ByLabelValue, ByLabelValue | None]:
        """Return the results of the window and of the reference."""
        del context
        return self._measure(current_data), None if reference_data is None else self._measure(reference_data)

    @abstractmethod
    def _measure(self, dataset: Dataset) -> ByLabelValue:
        """Return the result of one of the two."""


class ConceptCalculation(BothSidesCalculation[Metric], ABC):
    """Calculates a concept drift metric, of a model of classes or of one of numbers, which are called the same."""

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Concept drift"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()}, {str(label).replace('_', ' ')}"
