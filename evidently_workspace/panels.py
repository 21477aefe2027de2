"""Panels of an Evidently dashboard as the JSON that its UI stores.

Written by hand rather than with evidently.sdk, so that the API process can build a dashboard without
importing Evidently. Every key that the UI would fill in is here, so that what it stores equals what was sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal
from uuid import UUID, uuid5

DASHBOARD_NAMESPACE = UUID("6d7f2f0e-6f0b-5d0c-9a55-1c5d3f6a9b10")

LABEL_DELAY = (
    "These look at the labels that arrived in a window, whenever their predictions were made: nobody knows how "
    "late a label may be, so no window ever has to be computed again."
)

Panel = dict[str, Any]
Series = dict[str, Any]
Size = Literal["full", "half"]


def series(legend: str, metric: str, **labels: str) -> Series:
    """Return what one line or counter shows: a metric's name, and the labels of its points."""
    return {
        "legend": legend,
        "tags": [],
        "metadata": {},
        "metric": f"evidently:metric_v2:{metric}",
        "metric_labels": labels,
        "view_params": {},
    }


def text_panel(title: str, text: str) -> Panel:
    """Return a panel of text; it serves as the head of a section, as a dashboard has a single tab."""
    return _panel(title, text, "full", [], {"plot_type": "text"})


def counter_panel(title: str, text: str | None, shown: Sequence[Series]) -> Panel:
    """Return a panel with the newest value of each series, side by side."""
    return _panel(title, text, "full", list(shown), {"plot_type": "counter", "aggregation": "last"})


def line_panel(title: str, text: str | None, shown: Sequence[Series], size: Size = "half") -> Panel:
    """Return a panel with one line per series."""
    return _panel(title, text, size, list(shown), {"plot_type": "line"})


def on_test_set(scored: float | Mapping[str, float], form: str = ".3f") -> str:
    """Return a sentence on what was scored at training: one number, or several by name."""
    if not isinstance(scored, Mapping):
        return f"On the test set: {scored:{form}}."
    return f"On the test set: {', '.join(f'{name} {score:{form}}' for name, score in scored.items())}."


def dashboard(title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard with all panels in one tab; its ids depend on the titles alone."""
    tab = {"id": _identifier("tab", title), "title": title, "panels": [panel["id"] for panel in panels]}
    return {"tabs": [tab], "panels": list(_without_holes(panels))}


def _without_holes(panels: Sequence[Panel]) -> Iterator[Panel]:
    # Two half panels fill a row; an odd one out is widened, or the page shows a hole.
    for size, run in groupby(panels, key=lambda panel: panel["size"]):
        *others, last = run
        yield from others
        yield {**last, "size": "full"} if size == "half" and len(others) % 2 == 0 else last


def _panel(title: str, text: str | None, size: Size, values: list[Series], plot_params: dict[str, Any]) -> Panel:
    return {
        "id": _identifier("panel", plot_params["plot_type"], title),
        "title": title,
        "subtitle": text,
        "size": size,
        "values": values,
        "plot_params": plot_params,
    }


def _identifier(*parts: str) -> str:
    return str(uuid5(DASHBOARD_NAMESPACE, "/".join(parts)))
