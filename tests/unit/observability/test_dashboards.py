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
from tests.observability import FOLDER as OPS
from tests.observability import ROOT, alerts, read_yaml

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
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
    assert set(BOARDS) == {"overview", "api", "containers", "host"}


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
        assert steps == [None, limit_of(names[0]).value]
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
        shown = {one for panel in board["panels"] if panel["type"] != "row" for one in named_alerts(panel)}
        assert name in shown or name in SHOWN_BY_NO_PANEL, (name, board["uid"])


@pytest.mark.parametrize("name", BOARDS)
def test_dashboards_link_one_another_and_the_model_s_health_and_mark_alerts_and_builds(name: str) -> None:
    board = BOARDS[name]
    links = {link["url"] for link in board["links"]}
    assert links == {f"/d/{other['uid']}" for other in BOARDS.values() if other is not board} | {
        "http://localhost:8001"
    }
    assert [one["name"] for one in board["annotations"]["list"]] == ["Firing alerts", "New builds"]


def test_every_variable_is_used_and_every_used_one_is_declared() -> None:
    declared = {}
    for name, board in BOARDS.items():
        declared[name] = {one["name"] for one in board["templating"].get("list", [])}
        used = set(re.findall(r"\$(?!__)(\w+)", json.dumps(board["panels"])))
        assert used == declared[name], name
    assert declared["api"] == {"instance", "handler"}
    assert declared["containers"] == {"instance", "container"}
    assert declared["host"] == {"instance"}


def test_no_panel_is_about_the_model_s_health() -> None:
    for param in PANELS:
        panel: dict[str, Any] = param.values[0]  # type: ignore[assignment]
        assert not re.search(r"(?i)drift|accuracy", json.dumps(panel["targets"]))


def test_the_ops_page_says_which_dashboard_answers_which_question() -> None:
    page = (ROOT / "docs/ops.md").read_text(encoding="utf-8")
    for board in BOARDS.values():
        assert f"/d/{board['uid']}" in page
        for panel in board["panels"]:
            if panel["type"] == "row":
                assert panel["title"] in page, panel["title"]


def test_the_ops_page_lists_the_metrics_that_the_api_has() -> None:
    page = (ROOT / "docs/ops.md").read_text(encoding="utf-8")
    metrics = Metrics(CollectorRegistry())
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("vigie_")}
    listed = set(re.findall(r"`(vigie_\w+)`", page))
    assert {name.removesuffix("_total") for name in listed} == names
