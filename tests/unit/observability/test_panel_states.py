"""What a person on call sees: each panel while all is well, while something fails, and without data."""

import json
from typing import Any, NamedTuple

import pytest

from observability.grafana.builders.__main__ import FOLDER
from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.overview import SEVERITIES
from observability.grafana.builders.panels import GREEN, GREY, RED
from tests.grafana import Shown, cell, shown
from tests.observability import alerts

Value = float | tuple[float, str]
"""A value, with the name of its series where the series have colours of their own."""


class State(NamedTuple):
    """A healthy value and what is shown of it, a failing one likewise (None where no value is bad), and without one."""

    healthy: Value
    healthy_shown: str
    failing: Value | None
    failing_shown: str | None
    absent_shown: str


STATES = {
    "overview": {
        "API reachable": State(1, "100.000%, green", 0.9981, "99.810%, red", "unknown, grey"),
        "Answered requests without 5xx": State(0.9995, "99.950%, green", 0.998, "99.800%, red", "unknown, grey"),
        "Error budget left": State(0.62, "62.0%, green", -0.5, "-50.0%, red", "unknown, grey"),
        "Predictions under 100 ms": State(0.998, "99.80%, green", 0.9887, "98.87%, red", "unknown, grey"),
        "Latency budget left": State(0.4, "40.0%, green", -0.125, "-12.5%, red", "unknown, grey"),
        "Everything up": State(1, "up, green", 0, "DOWN, red", "unknown, grey"),
        "Evidently UI": State(1, "up, green", 0, "DOWN, red", "unknown, grey"),
        "Windows waiting": State(0, "0, green", None, None, "unknown, grey"),
        "Last snapshot": State(91, "1.52 mins, green", None, None, "unknown, grey"),
        "Open model alerts": State(0, "0, green", 2, "2, orange", "unknown, grey"),
        "Model alerts by severity": State(0, "0, green", 2, "2, orange", "unknown, grey"),
        "Requests": State((12.5, "2xx"), "12.5 req/s, green", (3, "5xx"), "3 req/s, red", "No data, secondary text"),
        "Burn rate of the budget for errors": State(
            (0.5, "1h"), "0.5, blue", (20, "1h"), "20, blue, beyond red", "No data, secondary text"
        ),
        "Burn rate of the budget for latency": State(
            (0.5, "1h"), "0.5, blue", (20, "1h"), "20, blue, beyond red", "No data, secondary text"
        ),
    },
    "api": {
        "Rate by route": State(12.5, "12.5 req/s, palette", None, None, "No data, secondary text"),
        "Latency by route (p95)": State(0.04, "40 ms, palette", None, None, "No data, secondary text"),
        "Answers by status": State(
            (12.5, "2xx"), "12.5 req/s, green", (3, "5xx"), "3 req/s, red", "No data, secondary text"
        ),
        "Share refused with 4xx": State(
            (0.25, "4xx"), "25%, orange", (0.3, "4xx"), "30%, orange, beyond red", "No data, secondary text"
        ),
        "Latency": State(
            (0.02, "p99"), "20 ms, purple", (0.4, "p99"), "400 ms, purple, beyond red", "No data, secondary text"
        ),
        "Rejected requests by reason": State(0, "0 req/s, palette", None, None, "No data, secondary text"),
        "Callers not let in, by reason": State(0, "0 req/s, palette", None, None, "No data, secondary text"),
        "API keys": State(0, "0, green", None, None, "unknown, grey"),
        "Key file": State(1, "valid, green", 0, "UNREADABLE, red", "unknown, grey"),
        "Latency by version (p95)": State(0.02, "20 ms, palette", None, None, "No data, secondary text"),
        "Failures by version": State(0, "0%, palette", 0.2, "20%, palette", "No data, secondary text"),
        "Build": State(1, "serves alone, green", 2, "ONE OF 2, orange", "unknown, grey"),
        "Processes behind": State(0, "0, green", 1, "1, red", "unknown, grey"),
        "Models that do not serve": State(0, "0, green", 1, "1, red", "unknown, grey"),
        "Requests in progress": State(50, "50, palette", 50.5, "50.5, palette, beyond red", "No data, secondary text"),
        "CPU of the process": State(0.3, "0.3, palette", 0.95, "0.95, palette, beyond red", "No data, secondary text"),
        "Memory of the process": State(167772160, "160 MiB, palette", None, None, "No data, secondary text"),
        "Rows and labels": State(60, "60 rows/s, palette", None, None, "No data, secondary text"),
        "Rows in a request": State((1, "p50"), "1, green", None, None, "No data, secondary text"),
        "Queue": State(0.8, "80%, palette", 0.81, "81%, palette, beyond red", "No data, secondary text"),
        "Commit time": State(
            (0.015, "p95"), "15 ms, blue", (0.3, "p95"), "300 ms, blue, beyond red", "No data, secondary text"
        ),
        "Rows in a commit": State(1.5, "1.5, palette", None, None, "No data, secondary text"),
        "Behind": State(900, "15 mins, palette", 905, "15.1 mins, palette, beyond red", "No data, secondary text"),
        "Duration of the last snapshot": State(12.4, "12.4 s, palette", None, None, "No data, secondary text"),
        "Tries of windows in 30 minutes": State((6, "posted"), "6, green", None, None, "No data, secondary text"),
        "Failed tries in 30 minutes": State(
            (3, "failed"), "3, orange", (4.1, "failed"), "4, orange, beyond red", "No data, secondary text"
        ),
        "Holders of the lease": State(1, "1, green", 0, "0, red", "unknown, grey"),
        "Evidently UI": State(1, "up, green", 0, "DOWN, red", "unknown, grey"),
        "Surroundings last looked at": State(11, "11 s, green", 61, "1.02 mins, red", "unknown, grey"),
        "Posts of model alerts that failed": State(3, "3, green", 3.1, "3.1, red", "unknown, grey"),
        "Windows ahead of the clock": State(0, "0 s, green", 301, "5.02 mins, red", "unknown, grey"),
        "Windows given up": State(0, "0, green", 1.02, "1, red", "unknown, grey"),
        "Removed because of its age, in a day": State(1200, "1.2 K, palette", None, None, "No data, secondary text"),
        "Freed by that, in a day": State(2097152, "2 MiB, palette", None, None, "No data, secondary text"),
        "Failed runs of retention": State(0, "0, green", 4, "4, red", "unknown, grey"),
        "Rows older than they may be": State(0, "0 s, green", 90000, "1.04 days, red", "unknown, grey"),
    },
    "containers": {
        "Health": State(1, "healthy, green", -2, "MISSING, red", "unknown, grey"),
        "Restarts in 15 minutes": State(2, "2, palette", 3, "3, palette, beyond red", "No data, secondary text"),
        "Killed for want of memory": State(0, "0, palette", 1, "1, palette, beyond red", "No data, secondary text"),
        "CPU": State(0.4, "0.4, palette", None, None, "No data, secondary text"),
        "Throttled": State(0.25, "25%, palette", 0.5, "50%, palette, beyond red", "No data, secondary text"),
        "Memory": State(402653184, "384 MiB, palette", None, None, "No data, secondary text"),
        "Memory against its limit": State(
            0.5, "50%, palette", 0.95, "95%, palette, beyond red", "No data, secondary text"
        ),
        "Received": State(7000000.0, "7 MB/s, palette", None, None, "No data, secondary text"),
        "Sent": State(1200, "1.2 kB/s, palette", None, None, "No data, secondary text"),
        "Read": State(0, "0 B/s, palette", None, None, "No data, secondary text"),
        "Written": State(0, "0 B/s, palette", None, None, "No data, secondary text"),
    },
    "host": {
        "CPU busy": State(0.4, "40%, palette", 0.95, "95%, palette, beyond red", "No data, secondary text"),
        "CPU by mode": State((1.5, "steal"), "1.5, semi-dark-orange", None, None, "No data, secondary text"),
        "Load for each core": State(2, "2, palette", 10.5, "10.5, palette, beyond red", "No data, secondary text"),
        "Memory available": State(0.1, "10%, palette", 0.09, "9%, palette, beyond red", "No data, secondary text"),
        "Disk free": State(0.24, "24%, palette", 0.05, "5%, palette, beyond red", "No data, secondary text"),
        "Disk free in a day": State(
            2000000000000.0,
            "1.82 TiB, palette",
            -300000000000.0,
            "-279 GiB, palette, beyond red",
            "No data, secondary text",
        ),
        "Disk reads and writes": State(40000000.0, "40 MB/s, palette", None, None, "No data, secondary text"),
        "Killed for want of memory": State(0, "0, palette", 1, "1, palette, beyond red", "No data, secondary text"),
        "Network": State(3000000.0, "3 MB/s, palette", None, None, "No data, secondary text"),
        "Pressure": State(0.02, "2%, palette", None, None, "No data, secondary text"),
        "Clock off by": State(0.05, "50 ms, palette", 0.2, "200 ms, palette, beyond red", "No data, secondary text"),
        "File descriptors": State(0.02, "2%, palette", 0.9, "90%, palette, beyond red", "No data, secondary text"),
        "Clock synchronised": State(1, "synchronised, green", 0, "NOT SYNCHRONISED, red", "unknown, grey"),
    },
}
PANELS: dict[str, dict[str, dict[str, Any]]] = {
    path.stem: {
        panel["title"]: panel
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        if panel["type"] not in {"row", "text"}
    }
    for path in sorted(FOLDER.glob("*.json"))
}
FIRING = PANELS["overview"]["Firing alerts"]
EACH = [pytest.param(name, title, id=f"{name}: {title}") for name, panels in STATES.items() for title in panels]


def seen(name: str, title: str, value: Value) -> str:
    number, series = value if isinstance(value, tuple) else (value, "")
    return str(shown(PANELS[name][title], number, series))


def test_every_panel_is_listed() -> None:
    listed = {(name, title) for name, panels in STATES.items() for title in panels}
    built = {(name, title) for name, panels in PANELS.items() for title in panels}
    assert listed == built - {("overview", "Firing alerts")}


@pytest.mark.parametrize(("name", "title"), EACH)
def test_a_panel_shows_what_is_well_what_fails_and_what_is_unknown(name: str, title: str) -> None:
    state = STATES[name][title]
    assert seen(name, title, state.healthy) == state.healthy_shown
    assert state.failing is None or seen(name, title, state.failing) == state.failing_shown
    assert str(shown(PANELS[name][title], None)) == state.absent_shown


@pytest.mark.parametrize(("name", "title"), EACH)
def test_what_is_well_is_not_red_and_what_is_unknown_has_no_colour_of_health(name: str, title: str) -> None:
    panel, state = PANELS[name][title], STATES[name][title]
    assert RED not in state.healthy_shown
    assert shown(panel, None).color not in {GREEN, RED, "orange"}
    if panel["type"] == "stat":
        assert shown(panel, None) == Shown("unknown", GREY)
        assert shown(panel, float("nan")) == Shown("unknown", GREY)


def numbers_with_a_limit() -> list[tuple[dict[str, Any], str]]:
    return [
        (panel, alert)
        for panels in PANELS.values()
        for panel in panels.values()
        for alert in alerts()
        if panel["description"].endswith(f"Alert: {alert}.")
        and len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1
        and alert != "SnapshotLeaseLost"
    ]


@pytest.mark.parametrize(
    ("panel", "alert"), numbers_with_a_limit(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_red_begins_where_the_alert_fires_and_not_at_its_limit(panel: dict[str, Any], alert: str) -> None:
    limit = limit_of(alert)
    beyond = limit.value + (1 if limit.above else -1) * 1e-6 * max(1, abs(limit.value))
    at_limit, fires = shown(panel, limit.value), shown(panel, beyond)
    assert RED not in {at_limit.color, at_limit.line}
    assert RED in {fires.color, fires.line}


def test_an_alert_has_its_severity_s_colour_and_a_cell_without_a_value_a_dash() -> None:
    assert str(shown(FIRING, None)) == "Nothing is firing., secondary text"
    assert str(cell(FIRING, "Severity", "critical")) == "critical, red"
    assert str(cell(FIRING, "Severity", "warning")) == "warning, orange"
    options = FIRING["transformations"][0]["options"]
    columns = sorted(options["indexByName"], key=options["indexByName"].get)
    headings = [options["renameByName"][column] for column in columns]
    assert headings == ["Severity", "Alert", "What", "Since", "Runbook entry"]
    for heading in headings:
        assert cell(FIRING, heading, None) == Shown("\N{EN DASH}", "text")


def test_alerts_are_sorted_by_severity_and_link_their_entry_of_the_runbook() -> None:
    assert [one["displayName"] for one in FIRING["options"]["sortBy"]] == ["Severity", "Since"]
    assert sorted(SEVERITIES) == ["critical", "warning"], "the worst one comes first in the alphabet too"
    board = json.loads((FOLDER / "runbook.json").read_text(encoding="utf-8"))
    titles = {str(panel["id"]): panel["title"] for panel in board["panels"]}
    for alert in alerts():
        number = cell(FIRING, "Runbook entry", alert).text
        assert titles[number] == f"{number} {alert}"
    (override,) = [one for one in FIRING["fieldConfig"]["overrides"] if one["matcher"]["options"] == "Runbook entry"]
    (links,) = [one["value"] for one in override["properties"] if one["id"] == "links"]
    assert [link["url"] for link in links] == [f"/d/{board['uid']}?viewPanel=${{__value.text}}"]
