"""What Grafana 12 shows of a panel's definition: the text and colour of a value or of none, its marks and its titles.

Written after Grafana's own display processor, units, annotations of Prometheus and panel header.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10
from typing import Any

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.panels import GREY

NO_DATA = "No data"
PALETTE = "palette"
SECONDARY = "secondary text"
TIMES = ((1e-6, 1e9, " ns"), (1e-3, 1e6, " µs"), (1, 1e3, " ms"), (60, 1, " s"), (3600, 1 / 60, " mins"))
LONG_TIMES = ((86400, 1 / 3600, " hours"), (604800, 1 / 86400, " days"), (31536000, 1 / 604800, " weeks"))
UNITS = {
    "short": (1000, ("", " K", " Mil", " Bil", " Tri"), ""),
    "reqps": (1000, ("", "K", "M", "B"), " req/s"),
    "rowsps": (1000, ("", "K", "M", "B"), " rows/s"),
    "bytes": (1024, (" B", " KiB", " MiB", " GiB", " TiB"), ""),
    "Bps": (1000, (" B/s", " kB/s", " MB/s", " GB/s"), ""),
}


@dataclass(frozen=True)
class Shown:
    """The text, its colour and, on a graph, the colour of the worst alert line that the value is beyond."""

    text: str
    color: str
    line: str | None = None

    def __str__(self) -> str:
        color = "grey" if self.color == GREY else self.color
        return f"{self.text}, {color}" + (f", beyond {self.line}" if self.line else "")


def shown(panel: dict[str, Any], value: float | str | None, series: str = "") -> Shown:
    """Return what the panel shows where its query returns this value for a series, or no series at all (None)."""
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] in {"timeseries", "table"} and value is None:
        return Shown(defaults.get("noValue", NO_DATA), SECONDARY)
    config = defaults | _overridden(panel, series)
    text, mapped = _mapped(config.get("mappings", []), value)
    number = value if isinstance(value, int | float) and not isnan(value) else None
    if text is None:
        text = value if isinstance(value, str) and value else ""
        if number is not None:
            text = formatted(number, config["unit"], config.get("decimals"))
    text = text or config.get("noValue") or NO_DATA
    if panel["type"] == "timeseries":
        assert number is not None
        return Shown(text, config.get("color", {}).get("fixedColor", PALETTE), _crossed(panel, number))
    return Shown(text, mapped or color_at(config, number))


def color_at(config: dict[str, Any], number: float | None) -> str:
    """Return the colour of the last step that begins at the number or below; without a number, the base colour."""
    steps = config["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or (number is not None and number >= step["value"])]
    color: str = reached[-1]["color"]
    return color


def cell(panel: dict[str, Any], column: str, value: float | str | None) -> Shown:
    """Return what a cell of the table shows in this column; None stands for a series without the label."""
    config = panel["fieldConfig"]["defaults"] | _overridden(panel, column)
    text, mapped = _mapped(config.get("mappings", []), value)
    text = text or (str(value) if value is not None else config.get("noValue", ""))
    return Shown(text, mapped or color_at(config, None))


def formatted(value: float, unit: str, decimals: int | None) -> str:
    """Return the number in its unit, as Grafana writes it."""
    suffix = ""
    if unit == "percentunit":
        value, suffix = 100 * value, "%"
    elif unit == "s" and value:
        factor, suffix = next(
            ((factor, name) for below, factor, name in TIMES + LONG_TIMES if abs(value) < below),
            (1 / 31536000, " years"),
        )
        value *= factor
    elif unit == "s":
        suffix = " s"
    elif unit in UNITS:
        base, names, end = UNITS[unit]
        place = min(floor(log10(abs(value)) / log10(base) + 1e-12), len(names) - 1) if abs(value) >= base else 0
        value, suffix = value / base**place, names[place] + end
    else:
        assert unit == "none", unit
    return _digits(value, decimals) + suffix


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    places = max(0, 2 - floor(log10(abs(value)))) if value else 0
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _overridden(panel: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for override in panel["fieldConfig"].get("overrides", []):
        matcher = override["matcher"]
        matched = {"byName": lambda asked: name == asked, "byRegexp": lambda asked: re.search(asked, name) is not None}
        if matched[matcher["id"]](matcher["options"]):
            found |= {one["id"]: one["value"] for one in override["properties"]}
    return found


def _mapped(mappings: Sequence[dict[str, Any]], value: float | str | None) -> tuple[str | None, str | None]:
    for mapping in mappings:
        assert mapping["type"] == "value"
        key = f"{value:g}" if isinstance(value, int | float) else value
        if key in mapping["options"]:
            result = mapping["options"][key]
            return result["text"], result.get("color")
    return None, None


def _crossed(panel: dict[str, Any], value: float) -> str | None:
    """Return the colour of the highest line above which, or of the line below which, the value is."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]
    alert = re.search(r"Alert: (\w+)\.$", panel["description"])
    below = alert is not None and not limit_of(alert[1]).above
    beyond = [step["color"] for step in steps if (value < step["value"] if below else value > step["value"])]
    return beyond[-1] if beyond else None


def marks(values: Iterable[tuple[float, float]], step: float = 60) -> list[tuple[float, float]]:
    """Return the marks of an annotation's series as (start, end) in seconds; an area where they differ.

    The values are times in milliseconds, as `useValueForTime` asks. Grafana joins those of at most a step apart.
    """
    found: list[tuple[float, float]] = []
    for _, value in values:
        time = value / 1000
        if found and found[-1][1] + step >= time:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time, time))
    return found


PAGE_MARGIN, MENU, GAP, HEADER = 32, 300, 8, 102
"""Pixels: beside the panels, of the open menu, between panels, and of what a title shares its line with."""
LETTER = 7.5
"""Pixels of a letter of a title; measured on titles that were cut."""


def title_is_cut(panel: dict[str, Any], screen: int = 1366) -> bool:
    """Return whether the panel's header has too little room for its title on a screen of this width."""
    column = (screen - MENU - PAGE_MARGIN) / 24
    room = panel["gridPos"]["w"] * column - GAP - HEADER
    return bool(len(panel["title"]) * LETTER > room)
