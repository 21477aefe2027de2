"""The table of a drift section: distance, threshold and verdict of each column; its figures unfold."""

from typing import NamedTuple

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    RowDetails,
    rich_table_data,
)

METHOD_NAMES = {
    "wasserstein": "Wasserstein distance in standard deviations of the reference",
    "jensenshannon": "Jensen-Shannon distance",
}


class DriftRow(NamedTuple):
    """The verdict on one column, and the widgets that Evidently's ValueDrift made for it."""

    column: str
    method: str
    distance: float
    threshold: float
    drifted: bool
    widgets: list[BaseWidgetInfo]


def drift_table(rows: list[DriftRow]) -> BaseWidgetInfo:
    """Return the widget; columns that drifted come first, then by distance relative to the threshold."""
    ordered = sorted(rows, key=lambda row: row.distance / row.threshold, reverse=True)
    drifted = sum(row.drifted for row in rows)
    return rich_table_data(
        title=f"{drifted} of {len(rows)} drifted" if len(rows) > 1 else "",
        columns=[
            ColumnDefinition("Column", "column"),
            ColumnDefinition("Verdict", "verdict"),
            ColumnDefinition("Distance", "distance"),
            ColumnDefinition("Threshold", "threshold"),
            ColumnDefinition("Method", "method"),
        ],
        data=[_table_row(row) for row in ordered],
    )


def _table_row(row: DriftRow) -> RichTableDataRow:
    details = RowDetails()
    for widget in row.widgets:
        for tab in widget.tabs or []:
            details.with_part(tab.title, tab.widget)
    return RichTableDataRow(
        details=details,
        fields={
            "column": row.column,
            "verdict": "drifted" if row.drifted else "within the threshold",
            "distance": round(row.distance, 4),
            "threshold": round(row.threshold, 4),
            "method": METHOD_NAMES[row.method],
        },
    )
