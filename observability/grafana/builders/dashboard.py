"""The parts that all dashboards share: variables, links, annotations, numbering and the file."""

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from observability.grafana.builders.panels import DATASOURCE

EVIDENTLY_URL = "http://localhost:8001"
TITLES = {
    "vigie-overview": "Vigie / Overview",
    "vigie-api": "Vigie / API",
    "vigie-containers": "Vigie / Containers",
    "vigie-host": "Vigie / Host",
}
ANNOTATIONS = {
    "Firing alerts": ('ALERTS{alertstate="firing", alertname!="Watchdog"}', "red", "{{alertname}}", "severity,subject"),
    "New builds": (
        "count by (version, model, model_version) (vigie_build_info)"
        " unless count by (version, model, model_version) (vigie_build_info offset 2m)",
        "purple",
        "Vigie {{version}} serves {{model}} {{model_version}}",
        "version,model_version",
    ),
}

Panel = timeseries.Panel | stat.Panel | table.Panel
Section = tuple[str, Sequence[Panel]]


def variable(name: str, label: str, query: str) -> build.QueryVariable:
    """Build a variable of several values, all by default."""
    built = build.QueryVariable(name).label(label).query(query).datasource(DATASOURCE)
    built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    built.current(model.VariableOption(text="All", value="$__all", selected=True))
    return built.multi(True).include_all(True).all_value(".*")


def dashboard(
    uid: str, description: str, variables: Sequence[build.QueryVariable], sections: Sequence[Section]
) -> build.Dashboard:
    """Build a dashboard; each section is a row with its panels, which flow from left to right."""
    built = build.Dashboard(TITLES[uid]).uid(uid).description(description).tags(["vigie"]).readonly()
    built.time("now-3h", "now").refresh("30s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for one in variables:
        built.with_variable(one)
    for other, title in TITLES.items():
        if other != uid:
            built.link(_link(title.removeprefix("Vigie / "), f"/d/{other}"))
    built.link(_link("Model health (Evidently UI)", EVIDENTLY_URL).target_blank(True).keep_time(False))
    for name, (expression, color, _, _) in ANNOTATIONS.items():
        annotation = build.AnnotationQuery().name(name).datasource(DATASOURCE).expr(expression)
        built.annotation(annotation.enable(True).icon_color(color))
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
        _, _, title, tags = ANNOTATIONS[annotation["name"]]
        annotation.update(titleFormat=title, tagKeys=tags, step="60s")
    for one in content["templating"].get("list", []):
        del one["id"]  # the same for all of them
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _link(title: str, url: str) -> build.DashboardLink:
    return build.DashboardLink(title).type(model.DashboardLinkType.LINK).url(url).keep_time(True)
