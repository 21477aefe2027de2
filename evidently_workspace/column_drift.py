"""Evidently's drift of one column, with figures that are drawn only for the columns whose figures are shown."""

from abc import ABC
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.metrics import ValueDrift
from evidently.metrics.column_statistics import ValueDriftCalculation


class ColumnDriftCalculation(ValueDriftCalculation, ABC):  # type: ignore[misc]  # Evidently ships no types
    """Calculates the distance and remembers how to draw it. ABC keeps Evidently from making it ValueDrift's own."""

    _drawing: Callable[[], list[BaseWidgetInfo]]

    def draw(self) -> dict[str, BaseWidgetInfo]:
        """Return the figures by title: the two distributions first, then the window in the order of its rows."""
        tabs = {tab.title: tab.widget for widget in self._drawing() for tab in widget.tabs or []}
        return dict(reversed(tabs.items()))

    def _render(self, *arguments: Any) -> list[BaseWidgetInfo]:
        self._drawing = partial(super()._render, *arguments)
        return []


class ColumnDrift(ValueDrift):  # type: ignore[misc]
    """ValueDrift as it is, except that its result comes without figures.

    Drawing takes more than half of the time of a wide model's data drift, and a report shows few of them.
    """

    __calculation_type__: ClassVar[type] = ColumnDriftCalculation
