"""The figures of the performance of a model of numbers: Evidently's own, with titles."""

from typing import Any

import numpy as np
import pandas as pd
from evidently.core.metric_types import MetricResult
from evidently.core.report import Context
from evidently.legacy.base_metric import InputData
from evidently.legacy.metrics import RegressionPredictedVsActualScatter
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.utils.data_preprocessing import create_data_definition

from evidently_workspace.number_frames import ACTUAL_NUMBER, PREDICTED_NUMBER, with_titles
from evidently_workspace.section import plain_figures

MOST_DRAWN = 2_000
"""Rows that the density of predicted beside actual numbers is drawn from; it takes as long as there are rows."""


def figures_of(result: MetricResult, title: str) -> list[BaseWidgetInfo]:
    """Return the figures among the widgets of a result."""
    return _titled(result.widget or [], title)


def predicted_beside_actual(context: Context, rows: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return the figure of predicted beside actual numbers, in the window and on the reference."""
    current, known = (with_titles(_few(frame)) for frame in (rows, reference))
    mapping = ColumnMapping(target=ACTUAL_NUMBER, prediction=PREDICTED_NUMBER, task="regression")

    def data(*_: object) -> InputData:
        return InputData(known, current, mapping, create_data_definition(known, current, mapping), {})

    with plain_figures():
        _, widgets = context.get_legacy_metric(RegressionPredictedVsActualScatter(), data, None)
    return _titled(widgets, "Predicted beside actual numbers")


def _few(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if len(frame) <= MOST_DRAWN else frame.sample(MOST_DRAWN, random_state=0)


def _titled(widgets: list[BaseWidgetInfo], title: str) -> list[BaseWidgetInfo]:
    figures = [widget for widget in widgets if widget.type == WidgetType.BIG_GRAPH.value]
    for figure in figures:
        figure.title = title
        figure.params = _rounded(figure.params)
    return figures


def _rounded(part: Any) -> Any:
    """Return a part of a figure with its numbers to a pixel's accuracy, which takes half of the room."""
    if isinstance(part, dict):
        return {name: _rounded(value) for name, value in part.items()}
    if isinstance(part, np.ndarray):
        part = part.tolist()
    if isinstance(part, list | tuple):
        return [_rounded(value) for value in part]
    return float(f"{part:.5g}") if isinstance(part, float) else part
