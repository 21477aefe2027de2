"""The panels: graphs, numbers and tables in one style, with the limit of their alert."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus as source
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from observability.grafana.builders.alert_limits import Limit

DATASOURCE = model.DataSourceRef("prometheus", "prometheus")
GREEN, AMBER, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and the names of its series."""

    expression: str
    legend: str = ""


Target = Builder[Dataquery]
Steps = Sequence[tuple[float | None, str]]


def steps_of(limit: Limit | None) -> Steps:
    """Return the colours of values: red where the alert fires."""
    if limit is None:
        return [(None, GREEN)]
    return [(None, GREEN), (limit.value, RED)] if limit.above else [(None, RED), (limit.value, GREEN)]


def thresholds(steps: Steps) -> build.ThresholdsConfig:
    """Build the thresholds of the steps; the first has no lower bound."""
    config = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return config.steps([model.Threshold(value, color) for value, color in steps])


def described(description: str, alerts: Sequence[str]) -> str:
    """Return the description, followed by the alerts that the panel explains."""
    return f"{description} Alert: {', '.join(alerts)}." if alerts else description


def targets(queries: Sequence[Query], *, instant: bool, as_table: bool = False) -> list[Target]:
    """Build the queries of a panel, named A, B and so on."""
    built: list[Target] = []
    for place, query in enumerate(queries):
        target = source.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + place))
        if as_table:
            target.format(PromQueryFormat.TABLE)
        built.append((target.instant() if instant else target.range()).datasource(DATASOURCE))
    return built


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    limit: Limit | None = None,
    steps: Steps | None = None,
    alerts: Sequence[str] = (),
    span: int = 8,
    stacked: bool = False,
    minimum: float | None = 0,
    maximum: float | None = None,
) -> timeseries.Panel:
    """Build a graph over time. ``limit`` is drawn as a line where its alert fires; ``steps`` draws several."""
    named = list(alerts) or ([limit.alert] if limit else [])
    panel = (
        timeseries.Panel()
        .title(title)
        .description(described(description, named))
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(8)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(looks.VisibilityMode.NEVER)
        .thresholds(thresholds(steps or steps_of(limit)))
        .legend(common.VizLegendOptions().show_legend(True).display_mode(looks.LegendDisplayMode.LIST))
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .targets(targets(queries, instant=False))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if minimum is not None:
        panel.min(minimum)
    if maximum is not None:
        panel.max(maximum)
    if limit is not None or steps is not None:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limit: Limit | None = None,
    steps: Steps | None = None,
    span: int = 4,
    decimals: int | None = None,
    words: dict[str, tuple[str, str]] | None = None,
    shown: looks.BigValueTextMode = looks.BigValueTextMode.AUTO,
) -> stat.Panel:
    """Build the present values as one number for each series; ``words`` shows values as (text, colour).

    ``shown`` is the value, the series' name or both. By default the name is shown where there are several series.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(described(description, [limit.alert] if limit else []))
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(4)
        .color_mode(looks.BigValueColorMode.BACKGROUND if words else looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .text_mode(shown)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps or steps_of(limit)))
        .targets(targets([query], instant=True))
    )
    if decimals is not None:
        panel.decimals(decimals)
    if words:
        options = {
            value: model.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(words.items())
        }
        panel.mappings([model.ValueMap(options=options)])
    return panel


def listing(title: str, description: str, query: Query, *, hidden: Sequence[str], span: int = 24) -> table.Panel:
    """Build a table of the present series, with a column for each label that is not hidden."""
    organize = {"excludeByName": dict.fromkeys(["Time", "Value", "__name__", *hidden], True)}
    panel = table.Panel().title(title).description(description).datasource(DATASOURCE).span(span).height(7)
    panel.show_header(True).unit("none").thresholds(thresholds(steps_of(None))).no_value("Nothing is firing.")
    built = targets([query], instant=True, as_table=True)
    return panel.targets(built).transformations([model.DataTransformerConfig(id_val="organize", options=organize)])
