"""What a snapshot keeps when it is old: values, tables and tests, but no figures. Pure: JSON in, JSON out."""

from typing import Any

from evidently.legacy.renderers.html_widgets import text_widget

FIGURE = "big_graph"
NOTICE = (
    "**The figures of this snapshot have been removed**, because it is old and they are most of its size. Its values, "
    "tables and checks are all below, and the dashboard's charts keep it."
)

Widget = dict[str, Any]


def without_figures(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return the snapshot's JSON without figures, and with a notice if it had any."""
    widgets = [slim for widget in snapshot["widgets"] if (slim := _slim(widget)) is not None]
    if widgets == snapshot["widgets"]:
        return snapshot
    return {**snapshot, "widgets": [text_widget(text=NOTICE).dict(), *widgets]}


def _slim(widget: Widget) -> Widget | None:
    """Return the widget without figures; None where it is one."""
    if widget["type"] == FIGURE:
        return None
    inner = [slim for part in widget.get("widgets") or [] if (slim := _slim(part)) is not None]
    slim = {**widget, "additionalGraphs": [], "widgets": inner}
    params = widget.get("params")
    if widget.get("additionalGraphs") and isinstance(params, dict) and isinstance(params.get("data"), list):
        # A row that unfolds asks for its figures.
        slim["params"] = {**params, "data": [_closed(row) for row in params["data"]]}
    return slim


def _closed(row: Any) -> Any:
    return {name: value for name, value in row.items() if name != "details"} if isinstance(row, dict) else row
