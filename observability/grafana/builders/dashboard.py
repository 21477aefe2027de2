"""The parts that all dashboards share: variables, links, annotations, numbering and the file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from observability.grafana.builders.panels import DATASOURCE

EVIDENTLY = "evidently"
"""The hidden variable with the address of Evidently UI, which each API reports: the newest start counts."""
EVIDENTLY_QUERY = "query_result(topk(1, max by (url) (last_over_time(vigie_evidently_link_timestamp_seconds[30d]))))"
TITLES = {
    "vigie-overview": "Vigie / Overview",
    "vigie-api": "Vigie / API",
    "vigie-containers": "Vigie / Containers",
    "vigie-host": "Vigie / Host",
    "vigie-runbook": "Vigie / Runbook",
}


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is marked on all graphs. The values of its expression are the times of the marks, in milliseconds.

    So a mark is a line and never an area, however long it lasts and however far the time range reaches.
    """

    name: str
    expression: str
    color: str
    title: str


def annotations(subject: str | None) -> list[Annotation]:
    """Return the starts and ends of critical alerts on a subject (None: on all), and new builds."""
    critical = 'severity="critical"' + (f', subject="{subject}"' if subject else "")
    firing = f'ALERTS{{alertstate="firing", {critical}}}'
    builds = "by (version, model, model_version)"
    seen_before = f"max {builds} (last_over_time(vigie_build_info[7d] offset 1h))"
    return [
        Annotation(
            "Critical alerts begin",
            f"1000 * (ALERTS_FOR_STATE{{{critical}}} and ignoring (alertstate) {firing})",
            "red",
            "{{alertname}} begins",
        ),
        Annotation(
            "Critical alerts end",
            f"1000 * max_over_time(timestamp({firing})[1h:1m]) unless {firing}",
            "green",
            "{{alertname}} ends",
        ),
        Annotation(
            "New builds",
            f"1000 * min {builds} (min_over_time(timestamp(vigie_build_info)[1h:1m])) unless {seen_before}",
            "purple",
            "Vigie {{version}} serves {{model}} {{model_version}}",
        ),
    ]


TITLES_OF_MARKS = {one.name: one.title for one in annotations(None)}

Panel = timeseries.Panel | stat.Panel | table.Panel | text.Panel
Section = tuple[str, Sequence[Panel]]


def variable(name: str, label: str, query: str) -> build.QueryVariable:
    """Build a variable of several values, all by default."""
    built = build.QueryVariable(name).label(label).query(query).datasource(DATASOURCE)
    built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    built.current(model.VariableOption(text="All", value="$__all", selected=True))
    return built.multi(True).include_all(True).all_value(".*")


def _evidently() -> build.QueryVariable:
    built = build.QueryVariable(EVIDENTLY).query(EVIDENTLY_QUERY).regex('/url="([^"]+)"/').datasource(DATASOURCE)
    return built.refresh(model.VariableRefresh.ON_DASHBOARD_LOAD).hide(model.VariableHide.HIDE_VARIABLE)


def dashboard(
    uid: str,
    description: str,
    variables: Sequence[build.QueryVariable],
    sections: Sequence[Section],
    *,
    subject: str | None = None,
) -> build.Dashboard:
    """Build a dashboard; each section is a row with its panels, which flow from left to right."""
    built = build.Dashboard(TITLES[uid]).uid(uid).description(description).tags(["vigie"]).readonly()
    built.time("now-3h", "now").refresh("30s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for one in (*variables, _evidently()):
        built.with_variable(one)
    for other, title in TITLES.items():
        if other != uid:
            built.link(_link(title.removeprefix("Vigie / "), f"/d/{other}"))
    built.link(_link("Model health (Evidently UI)", f"${{{EVIDENTLY}:raw}}").target_blank(True).keep_time(False))
    for mark in annotations(subject):
        annotation = build.AnnotationQuery().name(mark.name).datasource(DATASOURCE).expr(mark.expression)
        built.annotation(annotation.enable(True).icon_color(mark.color))
    number = 0
    for title, panels in sections:
        number += 1
        built.with_row(build.Row(title).id(number))
        for panel in panels:
            number += 1
            built.with_panel(panel.id(number))
    return built


def as_text(built: build.Dashboard) -> str:
    """Return the dashboard's file."""
    content: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    for annotation in content["annotations"]["list"]:
        # fields of the data source that the library does not know
        title = TITLES_OF_MARKS[annotation["name"]]
        annotation.update(titleFormat=title, tagKeys="severity,subject", step="60s", useValueForTime=True)
    for one in content["templating"].get("list", []):
        del one["id"]  # the same for all of them
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _link(title: str, url: str) -> build.DashboardLink:
    return build.DashboardLink(title).type(model.DashboardLinkType.LINK).url(url).keep_time(True)
