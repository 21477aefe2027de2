"""The table of a drift section: distance, threshold and verdict of each column; its figures unfold."""

from typing import NamedTuple

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    RowDetails,
    rich_table_data,
    table_data,
)

METHOD_NAMES = {
    "wasserstein": "Wasserstein, in standard deviations",
    "jensenshannon": "Jensen-Shannon",
}


class DriftRow(NamedTuple):
    """The verdict on one column, and the widgets that Evidently's ValueDrift made for it."""

    column: str
    method: str
    distance: float
    threshold: float
    drifted: bool
    widgets: list[BaseWidgetInfo]


def drift_widgets(rows: list[DriftRow]) -> list[BaseWidgetInfo]:
    """Return a table that unfolds into figures; for a single column, a plain table and its figures."""
    return [_unfolding_table(rows)] if len(rows) > 1 else [_plain_table(rows[0]), *_figures(rows[0])]


def _unfolding_table(rows: list[DriftRow]) -> BaseWidgetInfo:
    # Columns that drifted come first, then those closest to it.
    ordered = sorted(rows, key=lambda row: row.distance / row.threshold, reverse=True)
    drifted = sum(row.drifted for row in rows)
    return rich_table_data(
        title=f"{drifted} of {len(rows)} columns drifted",
        columns=[ColumnDefinition(title, title) for title in _cells(rows[0])],
        data=[_table_row(row) for row in ordered],
    )


def _plain_table(row: DriftRow) -> BaseWidgetInfo:
    cells = _cells(row)
    return table_data(title="", column_names=list(cells), data=[list(cells.values())])


def _table_row(row: DriftRow) -> RichTableDataRow:
    details = RowDetails()
    for widget in row.widgets:
        for tab in widget.tabs or []:
            details.with_part(tab.title, tab.widget)
    return RichTableDataRow(fields=_cells(row), details=details)


def _figures(row: DriftRow) -> list[BaseWidgetInfo]:
    return [tab.widget for widget in row.widgets for tab in widget.tabs or []]


def _cells(row: DriftRow) -> dict[str, str]:
    return {
        "Column": row.column,
        "Verdict": "drifted" if row.drifted else "within the threshold",
        "Distance": f"{row.distance:.4f}",
        "Threshold": f"{row.threshold:.4f}",
        "Method": METHOD_NAMES[row.method],
    }
