"""The table of a drift section: distance, threshold and verdict of each column; figures of those that matter unfold."""

from collections.abc import Callable
from typing import NamedTuple

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    RowDetails,
    rich_table_data,
    table_data,
)

from evidently_workspace.column_drift import ColumnDriftCalculation
from evidently_workspace.section import plain_figures

MOST_FIGURES = 12
"""Columns whose figures are drawn, furthest from the reference first: figures are most of the time and of the size
of a wide model's report."""
METHOD_NAMES = {
    "wasserstein": "Wasserstein, in standard deviations",
    "jensenshannon": "Jensen-Shannon",
}


class DriftRow(NamedTuple):
    """The verdict on one column, and the id of the metric that can draw it."""

    column: str
    method: str
    distance: float
    threshold: float
    drifted: bool
    metric_id: str


def drift_widgets(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> list[BaseWidgetInfo]:
    """Return a table that unfolds into figures; for a single column, a plain table and its figures."""
    if len(rows) > 1:
        return [_unfolding_table(rows, metric)]
    return [_plain_table(rows[0]), *_figures(rows[0], metric).values()]


def _unfolding_table(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> BaseWidgetInfo:
    # Columns that drifted come first, then those closest to it.
    ordered = sorted(rows, key=lambda row: row.distance / row.threshold, reverse=True)
    drifted = sum(row.drifted for row in rows)
    only = f"; figures of the {MOST_FIGURES} furthest from the reference" if len(rows) > MOST_FIGURES else ""
    return rich_table_data(
        title=f"{drifted} of {len(rows)} columns drifted{only}",
        columns=[ColumnDefinition(title, title) for title in _cells(rows[0])],
        data=[
            _table_row(row, _figures(row, metric) if place < MOST_FIGURES else {}) for place, row in enumerate(ordered)
        ],
    )


def _plain_table(row: DriftRow) -> BaseWidgetInfo:
    cells = _cells(row)
    return table_data(title="", column_names=list(cells), data=[list(cells.values())])


def _table_row(row: DriftRow, figures: dict[str, BaseWidgetInfo]) -> RichTableDataRow:
    details = RowDetails()
    for title, figure in figures.items():
        details.with_part(title, figure)
    return RichTableDataRow(fields=_cells(row), details=details)


def _figures(row: DriftRow, metric: Callable[[str], ColumnDriftCalculation]) -> dict[str, BaseWidgetInfo]:
    with plain_figures():
        return metric(row.metric_id).draw()


def _cells(row: DriftRow) -> dict[str, str]:
    return {
        "Column": row.column,
        "Verdict": "drifted" if row.drifted else "within the threshold",
        "Distance": f"{row.distance:.4f}",
        "Threshold": f"{row.threshold:.4f}",
        "Method": METHOD_NAMES[row.method],
    }
