"""Panels of an Evidently dashboard as the JSON that its UI stores.

Written by hand rather than with evidently.sdk, so that the API process can build a dashboard without importing
Evidently. Each panel has every key that the UI would add, so that the stored dashboard equals the one that was sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal
from uuid import UUID, uuid5

DASHBOARD_NAMESPACE = UUID("6d7f2f0e-6f0b-5d0c-9a55-1c5d3f6a9b10")

OUR_IDS = 5
"""The version of the UUIDs that are made from names. Those of other panels are made by the clock or by chance."""

LABEL_DELAY = (
    "Computed from the labels that arrived in a window, whenever their predictions were made: nobody knows how late "
    "a label may be, so no window has to be computed again."
)

MAX_DRAWN_RATIO = 3.0
"""The largest drift, in thresholds, that is drawn: one broken column must not flatten the lines of all others."""

BY_LABEL = "{{label}}"
"""The UI replaces it with the label of each line, so that the labels need not be known beforehand."""

Panel = dict[str, Any]
Series = dict[str, Any]
Size = Literal["full", "half"]
Aggregation = Literal["last", "avg"]


def series(legend: str, metric: str, **labels: str) -> Series:
    """Return one line or counter: the name of its metric, and the labels of its points."""
    return {
        "legend": legend,
        "tags": [],
        "metadata": {},
        "metric": f"evidently:metric_v2:{metric}",
        "metric_labels": labels,
        "view_params": {},
    }


def text_panel(title: str, text: str) -> Panel:
    """Return a panel of text: the heading of a section, because a dashboard has a single tab."""
    return _panel(title, text, "full", [], {"plot_type": "text"})


def counter_panel(title: str, text: str | None, shown: Sequence[Series], aggregation: Aggregation = "last") -> Panel:
    """Return a panel with one number of each series, side by side: the newest, or the mean of the windows shown."""
    return _panel(title, text, "full", list(shown), {"plot_type": "counter", "aggregation": aggregation})


def line_panel(title: str, text: str | None, shown: Sequence[Series], size: Size = "half") -> Panel:
    """Return a panel with one line per series."""
    return _panel(title, text, size, list(shown), {"plot_type": "line"})


def estimated(score: str, metric: str, legend: str) -> list[Series]:
    """Return the lines of a score: true, estimated with the ends of its interval, and on the test set."""
    kinds = {
        "estimated": "estimate",
        "estimated, low": "estimate_low",
        "estimated, high": "estimate_high",
        "test set": "test set",
    }
    lines = [series(name, "EstimatedScore", score=score, kind=kind) for name, kind in kinds.items()]
    return [series(legend, metric), *lines]


def held_panel(scores: Mapping[str, str]) -> Panel:
    """Return the panel that says how often the intervals of estimates were right, by score and its legend."""
    text = (
        "Mean over the windows in which enough labels arrived: 1 if the true score of their rows lay in the interval "
        "estimated for these rows, else 0. Much below 0.95, the relation between inputs and labels has changed."
    )
    shown = [series(legend, "EstimateHeld", score=score) for score, legend in scores.items()]
    return counter_panel("How often the estimates were right", text, shown, "avg")


def written(value: float) -> str:
    """Return a number as people write it: 32,400 rather than 3.24e+04."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    shown = f"{value:.4g}"
    return f"{value:.7f}".rstrip("0") if "e-0" in shown and abs(value) >= 1e-6 else shown


def signed(value: float) -> str:
    """Return a number as people write it, with its sign."""
    return f"{'-' if value < 0 else '+'}{written(abs(value))}"


def dashboard(title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard with all panels in one tab; its ids depend on the titles alone."""
    tab = {"id": _identifier("tab", title), "title": title, "panels": [panel["id"] for panel in panels]}
    return {"tabs": [tab], "panels": list(_without_holes(panels))}


def renewed_dashboard(stored: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any] | None:
    """Return the stored dashboard with our tab and panels renewed; None where they are as they should be.

    Panels and tabs that people added stay: ours have ids that are made from their titles, theirs have random ones.
    """
    panels, tabs = stored.get("panels") or [], stored.get("tabs") or []
    (tab,) = ours["tabs"]
    theirs = [panel for panel in panels if not _is_ours(panel["id"])]
    stored_tab: dict[str, Any] = next((one for one in tabs if one["id"] == tab["id"]), {"panels": []})
    in_our_tab = stored_tab["panels"]
    shown = {**stored_tab, "panels": [one for one in in_our_tab if _is_ours(one)]}
    if [panel for panel in panels if _is_ours(panel["id"])] == ours["panels"] and shown == tab:
        return None
    added = [panel["id"] for panel in theirs]
    kept = {*added, *tab["panels"]}
    elsewhere = [
        {**one, "panels": [panel for panel in one["panels"] if panel in kept]}
        for one in tabs
        if not _is_ours(one["id"])
    ]
    listed = {panel for one in elsewhere for panel in one["panels"]}
    ours_renewed = {**tab, "panels": tab["panels"] + [one for one in added if one not in listed]}
    return {**stored, "tabs": [ours_renewed, *elsewhere], "panels": ours["panels"] + theirs}


def _is_ours(identifier: str) -> bool:
    return UUID(str(identifier)).version == OUR_IDS


def _without_holes(panels: Sequence[Panel]) -> Iterator[Panel]:
    # Two half panels fill a row. A single one is widened, or the page would show a hole.
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
