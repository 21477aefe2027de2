"""The dashboards' files: made from their one source, whole, and of one mind with the alerts."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from api.metrics import Metrics
from observability.grafana.builders.__main__ import FOLDER, files
from observability.grafana.builders.alert_limits import expressions, limit_of
from observability.grafana.builders.panels import GREY, just_above
from tests.grafana import shown, title_is_cut
from tests.observability import FOLDER as OPS
from tests.observability import ROOT, alerts, read_yaml

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] not in {"row", "text"}
]
WITHOUT_A_NUMBER = {
    "ApiDown",
    "ApiKeysUnreadable",
    "MonitorDown",
    "EvidentlyDown",
    "ContainerMissing",
    "ContainerUnhealthy",
    "HostClockNotSynchronised",
    "SnapshotLeaseLost",
}
SHOWN_BY_NO_PANEL = {
    "Watchdog": "always fires",
    "PrometheusConfigReloadFailed": "seen in the list of what fires",
    "AlertmanagerConfigReloadFailed": "seen in the list of what fires",
    "PrometheusRuleFailures": "seen in the list of what fires",
    "PrometheusWithoutAlertmanager": "seen in the list of what fires",
    "PrometheusNotificationsFailing": "seen in the list of what fires",
    "AlertmanagerNotificationsFailing": "seen in the list of what fires",
}


def named_alerts(panel: dict[str, Any]) -> list[str]:
    found = re.search(r"Alert: ([\w, ]+)\.$", panel["description"])
    return found[1].split(", ") if found else []


def test_the_files_are_what_their_source_makes() -> None:
    made = files()
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == made
    assert set(BOARDS) == {"overview", "api", "containers", "host", "runbook"}


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_s_own_library_reads_a_file_and_writes_the_same(name: str) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(BOARDS[name]), cls=JSONEncoder))
    assert again["panels"] == BOARDS[name]["panels"]
    assert again["links"] == BOARDS[name]["links"]
    for key in ("uid", "title", "tags", "time", "refresh", "editable"):
        assert again[key] == BOARDS[name][key]


def test_uids_and_titles_are_unique_and_nothing_can_be_edited_in_place() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)
    assert not any(board["editable"] for board in BOARDS.values())
    (provider,) = read_yaml(OPS / "grafana/provisioning/dashboards/vigie.yml")["providers"]
    assert provider["allowUiUpdates"] is False


@pytest.mark.parametrize("name", BOARDS)
def test_ids_and_titles_of_panels_are_unique_within_a_dashboard(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", BOARDS)
def test_no_panels_overlap_and_all_are_on_the_grid(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    source = read_yaml(OPS / "grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    expected = {"type": source["type"], "uid": source["uid"]}
    assert panel["datasource"] == expected
    assert panel["targets"]
    assert all(target["datasource"] == expected for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_the_thresholds_of_a_panel_are_those_of_its_alert(panel: dict[str, Any]) -> None:
    names = named_alerts(panel)
    assert set(names) <= set(alerts())
    steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert steps == sorted(steps, key=lambda value: float("-inf") if value is None else value)
    if len(names) == 1 and names[0] not in WITHOUT_A_NUMBER:
        limit = limit_of(names[0])
        assert steps[-1] == (just_above(limit.value) if limit.above else limit.value)
        assert len(steps) == (3 if panel["type"] == "stat" else 2)
    if "Burn rate" in panel["title"]:
        burning = "".join(expressions()[name] for name in names)
        assert {f"{step:g}" for step in steps[1:]} == set(re.findall(r"> ([\d.]+) \*", burning))


def test_a_limit_is_the_number_that_the_rule_compares_with() -> None:
    for alert in set(alerts()) - WITHOUT_A_NUMBER - set(SHOWN_BY_NO_PANEL):
        if "slo" not in alerts()[alert]["labels"]:
            limit = limit_of(alert)
            assert f"{'>' if limit.above else '<'} {limit.value:g}" in expressions()[alert]


def test_every_alert_is_explained_by_a_panel() -> None:
    shown = {alert for param in PANELS for alert in named_alerts(param.values[0])}  # type: ignore[arg-type]
    assert shown | set(SHOWN_BY_NO_PANEL) == set(alerts())
    assert shown.isdisjoint(SHOWN_BY_NO_PANEL)


def test_an_alert_links_the_dashboard_that_explains_it() -> None:
    by_uid = {board["uid"]: board for board in BOARDS.values()}
    for name, alert in alerts().items():
        board = by_uid[alert["annotations"]["dashboard"].rsplit("/", 1)[1]]
        shown = {one for panel in board["panels"] if "description" in panel for one in named_alerts(panel)}
        assert name in shown or name in SHOWN_BY_NO_PANEL, (name, board["uid"])


@pytest.mark.parametrize("name", BOARDS)
def test_dashboards_link_one_another_and_the_model_s_health_and_mark_alerts_and_builds(name: str) -> None:
    board = BOARDS[name]
    links = {link["url"] for link in board["links"]}
    assert links == {f"/d/{other['uid']}" for other in BOARDS.values() if other is not board} | {"${evidently:raw}"}
    marks = board["annotations"]["list"]
    assert [one["name"] for one in marks] == ["Critical alerts begin", "Critical alerts end", "New builds"]
    assert all(one["useValueForTime"] is True for one in marks), "marks are lines, whatever lasts"
    subject = {"api": "api", "containers": "containers", "host": "host"}.get(name)
    for mark in marks[:2]:
        selectors = re.findall(r"ALERTS\w*{([^}]*)}", mark["expr"])
        assert selectors
        assert all('severity="critical"' in one for one in selectors)
        assert all((f'subject="{subject}"' in one) if subject else ("subject" not in one) for one in selectors)


def test_no_address_of_a_machine_is_written_into_a_dashboard_or_a_rule() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json") if path.stem != "runbook"]
    texts += [str(alert["annotations"]) for alert in alerts().values()]
    assert not [found for text in texts for found in re.findall(r"https?://\S+", text)]


def test_every_variable_is_used_and_every_used_one_is_declared() -> None:
    declared = {}
    for name, board in BOARDS.items():
        declared[name] = {one["name"] for one in board["templating"].get("list", [])}
        asked = [panel for panel in board["panels"] if "targets" in panel] + board["links"]
        assert set(re.findall(r"\$\{?(?!__)([a-z]\w*)", json.dumps(asked))) == declared[name], name
    assert declared["api"] == {"instance", "handler", "model", "evidently"}
    assert declared["containers"] == {"instance", "container", "evidently"}
    assert declared["host"] == {"instance", "evidently"}


@pytest.mark.parametrize("name", BOARDS)
def test_no_title_is_cut(name: str) -> None:
    assert [panel["title"] for panel in BOARDS[name]["panels"] if panel["type"] != "row" and title_is_cut(panel)] == []


def test_the_titles_that_were_cut_in_a_real_grafana_count_as_cut() -> None:
    narrow = {"gridPos": {"w": 4}}
    cut = ("Windows waiting", "Holders of the lease", "Surroundings last looked at", "Processes behind")
    assert all(title_is_cut(narrow | {"title": title}, screen=1600) for title in cut)
    fitting = ("Last snapshot", "Evidently UI", "Key file", "API keys")
    assert not any(title_is_cut(narrow | {"title": title}, screen=1600) for title in fitting)


@pytest.mark.parametrize("name", BOARDS)
def test_the_layout_has_no_holes(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    height = max(one["y"] + one["h"] for one in places)
    assert sum(one["w"] * one["h"] for one in places) == 24 * height


@pytest.mark.parametrize("panel", PANELS)
def test_the_axis_of_a_graph_shows_its_lines_while_all_is_calm(panel: dict[str, Any]) -> None:
    if panel["type"] != "timeseries":
        return
    defaults = panel["fieldConfig"]["defaults"]
    lines = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    end = defaults.get("max", defaults["custom"].get("axisSoftMax"))
    start = defaults.get("min", defaults["custom"].get("axisSoftMin"))
    assert start == 0
    assert all(start <= line < end for line in lines)
    if defaults["unit"] in {"s", "none", "short", "reqps", "rowsps"} and lines and max(lines) > 1e-6:
        assert end < 2 * max(lines), "a little above the limit"
    assert end <= 1 or lines or defaults["unit"] in {"bytes", "Bps"}


@pytest.mark.parametrize("panel", PANELS)
def test_the_line_of_a_limit_is_red_whichever_side_the_alert_fires_on(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if panel["type"] == "timeseries":
        assert steps[0] == {"value": None, "color": "transparent"}
        assert {step["color"] for step in steps[1:]} <= {"red", "orange"}


@pytest.mark.parametrize("panel", PANELS)
def test_a_status_has_one_colour_everywhere_and_colours_follow_the_theme(panel: dict[str, Any]) -> None:
    queried = json.dumps(panel["targets"])
    if panel["type"] == "timeseries" and ("{{status}}" in queried or '"4xx"' in queried):
        for status, color in {"2xx": "green", "4xx": "orange", "5xx": "red"}.items():
            if "{{status}}" in queried or status == "4xx":
                assert shown(panel, 1, status).color == color
    named = set(re.findall(r'"(?:color|fixedColor)": "([^"]+)"', json.dumps(panel["fieldConfig"])))
    assert {one for one in named if one.startswith("#")} <= {GREY}, "named colours have a shade for each theme"


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_of_many_series_is_beside_its_graph(panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries":
        many = ("container", "handler", "reason", "kind", "model_version", "device")
        legends = [target["legendFormat"] for target in panel["targets"]]
        if (
            any(f"{{{{{label}}}}}" in legend for label in many for legend in legends)
            and "Disk reads" not in panel["title"]
        ):
            assert panel["options"]["legend"]["placement"] == "right"
            assert panel["gridPos"]["w"] >= 12


def test_grafana_opens_on_overview_reads_no_news_and_finds_its_folders() -> None:
    settings = read_yaml(ROOT / "docker-compose.yml")["services"]["grafana"]["environment"]
    assert settings["GF_NEWS_NEWS_FEED_ENABLED"] == "false"
    (provider,) = read_yaml(OPS / "grafana/provisioning/dashboards/vigie.yml")["providers"]
    home = settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/overview.json"
    folders = {path.name for path in (OPS / "grafana/provisioning").iterdir()}
    assert folders == {"alerting", "dashboards", "datasources", "plugins"}
    assert all(read_yaml(path)["apiVersion"] == 1 for path in (OPS / "grafana/provisioning").glob("*/*.yml"))


def test_the_runbook_s_entries_are_those_of_the_page() -> None:
    panels = {panel["title"]: panel for panel in BOARDS["runbook"]["panels"] if panel["type"] == "text"}
    assert {title.split(" ")[1] for title in panels} == set(alerts())
    page = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for panel in panels.values():
        content = panel["options"]["content"]
        assert content.splitlines()[0] in page
        for number, name in re.findall(r"\[(\w+)\]\(/d/vigie-runbook\?viewPanel=(\d+)\)", content):
            assert f"{name} {number}" in panels
        assert "](#" not in content


def test_no_panel_is_about_the_model_s_health() -> None:
    for param in PANELS:
        panel: dict[str, Any] = param.values[0]  # type: ignore[assignment]
        assert not re.search(r"(?i)drift|accuracy", json.dumps(panel.get("targets", [])))


def test_the_ops_page_says_which_dashboard_answers_which_question() -> None:
    page = (ROOT / "docs/ops.md").read_text(encoding="utf-8")
    for board in BOARDS.values():
        assert f"/d/{board['uid']}" in page
        for panel in board["panels"]:
            if panel["type"] == "row" and board["uid"] != "vigie-runbook":
                assert panel["title"] in page, panel["title"]


def test_the_ops_page_lists_the_metrics_that_the_api_has() -> None:
    page = (ROOT / "docs/ops.md").read_text(encoding="utf-8")
    metrics = Metrics(CollectorRegistry())
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("vigie_")}
    listed = set(re.findall(r"`(vigie_\w+)`", page))
    assert {name.removesuffix("_total") for name in listed} == names
