"""The panels: graphs, numbers and tables in one style, with the limit of their alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, stat, table, text, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus as source
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from observability.grafana.builders.alert_limits import Limit

DATASOURCE = model.DataSourceRef("prometheus", "prometheus")
GREEN, AMBER, RED, BLUE, PURPLE = "green", "orange", "red", "blue", "purple"
"""Names of Grafana, which has a shade of each for the dark theme and one for the light theme."""
GREY = "#808080"
"""What is unknown; readable on both themes, whose colours have no grey."""
UNKNOWN = "unknown"
DASH = "\N{EN DASH}"
NO_LINE = "transparent"
BELOW_ALL = -1e9
"""Where colours begin for a value that may be negative."""
STATUS_COLORS = {"2xx": GREEN, "3xx": BLUE, "4xx": AMBER, "5xx": RED}
SOFT_MAXIMA = {"bytes": 2.0**20, "Bps": 1000.0}
"""Where the axis of a graph of zeros ends, by unit; 1 for the others."""
ABOVE_A_LIMIT = 1.2
"""A calm graph ends at this many times its highest limit, so that the line is seen."""


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and the names of its series."""

    expression: str
    legend: str = ""


Target = Builder[Dataquery]
Steps = Sequence[tuple[float | None, str]]


def just_above(limit: float) -> float:
    """Return where a colour begins for an alert that fires above the limit: Grafana colours from a step on."""
    return round(limit + 1e-9 * max(1.0, abs(limit)), 12)


def steps_of(limit: Limit | None, lowest: float = 0) -> Steps:
    """Return the colours of values: red where the alert fires, grey where there is no value."""
    unknown: Steps = [(None, GREY)]
    if limit is None:
        return [*unknown, (lowest, GREEN)]
    if limit.above:
        return [*unknown, (lowest, GREEN), (just_above(limit.value), RED)]
    return [*unknown, (lowest, RED), (limit.value, GREEN)]


def lines_of(limit: Limit | None, lines: Steps) -> Steps:
    """Return the lines of a graph; the one of a limit is red, whichever side of it the alert fires on."""
    drawn = [(just_above(limit.value) if limit.above else limit.value, RED)] if limit else lines
    return [(None, NO_LINE), *drawn]


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


def value_mapping(words: Mapping[str, tuple[str, str | None]]) -> model.ValueMap:
    """Build the mapping that shows values as (text, colour)."""
    options = {
        value: model.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(words.items())
    }
    return model.ValueMap(options=options)


def fixed(color: str) -> list[model.DynamicConfigValue]:
    """Build the override that gives a series this colour."""
    return [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})]


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    limit: Limit | None = None,
    lines: Steps = (),
    alerts: Sequence[str] = (),
    span: int = 8,
    stacked: bool = False,
    minimum: float | None = 0,
    maximum: float | None = None,
    decimals: int | None = None,
    colors: Mapping[str, str] | None = None,
    many: bool = False,
) -> timeseries.Panel:
    """Build a graph over time. ``limit`` is drawn as a line where its alert fires; ``lines`` draws several.

    ``colors`` are those of series by their names. ``many`` series have their legend beside the graph, where it scrolls.
    """
    drawn = lines_of(limit, lines)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(described(description, list(alerts) or ([limit.alert] if limit else [])))
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(8)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(looks.VisibilityMode.NEVER)
        .thresholds(thresholds(drawn))
        .legend(_legend(many=many))
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .targets(targets(queries, instant=False))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    _set_axis(panel, unit, [value for value, _ in drawn if value is not None], minimum, maximum)
    if decimals is not None:
        panel.decimals(decimals)
    for name, color in (colors or {}).items():
        panel.override_by_name(name, fixed(color))
    if len(drawn) > 1:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    return panel


def _legend(*, many: bool) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).display_mode(looks.LegendDisplayMode.LIST)
    return legend.placement(looks.LegendPlacement.RIGHT).width(160) if many else legend


def _set_axis(
    panel: timeseries.Panel, unit: str, limits: Sequence[float], minimum: float | None, maximum: float | None
) -> None:
    """Set the ends of the axis, so that zeros and calm values are drawn together with the lines."""
    if minimum is not None:
        panel.min(minimum)
    else:
        panel.axis_soft_min(0)
    if maximum is not None:
        panel.max(maximum)
    else:
        panel.axis_soft_max(_soft_maximum(max(limits, default=0), unit))


def _soft_maximum(highest: float, unit: str) -> float:
    """Return where the axis of a calm graph ends: a little above the highest limit."""
    return round(highest * ABOVE_A_LIMIT, 6) or SOFT_MAXIMA.get(unit, 1.0)


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limit: Limit | None = None,
    steps: Steps | None = None,
    lowest: float = 0,
    alerts: Sequence[str] = (),
    span: int = 8,
    height: int = 4,
    decimals: int | None = None,
    words: Mapping[str, tuple[str, str | None]] | None = None,
    shown: looks.BigValueTextMode = looks.BigValueTextMode.AUTO,
) -> stat.Panel:
    """Build the present values as one number for each series; ``words`` shows values as (text, colour).

    A value that is absent is unknown, and grey; ``lowest`` is where the colours begin. ``shown`` is the value, the
    series' name or both. By default the name is shown where there are several series.
    """
    colors = [(None, GREY), *(steps or ())] if steps or words else steps_of(limit, lowest)
    panel = (
        stat.Panel()
        .title(title)
        .description(described(description, list(alerts) or ([limit.alert] if limit else [])))
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(height)
        .color_mode(looks.BigValueColorMode.BACKGROUND if words else looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .text_mode(shown)
        .no_value(UNKNOWN)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(colors))
        .targets(targets([query], instant=True))
    )
    if decimals is not None:
        panel.decimals(decimals)
    if words:
        panel.mappings([value_mapping(words)])
    return panel


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the label or "Value" that it shows, its heading, and how it looks."""

    name: str
    heading: str
    unit: str | None = None
    words: Mapping[str, tuple[str, str | None]] | None = None
    colored: bool = False
    link: tuple[str, str] | None = None


def listing(
    title: str, description: str, query: Query, *, columns: Sequence[Column], empty: str, sort: Sequence[str], span: int
) -> table.Panel:
    """Build a table of the present series with these columns, whatever labels a series has.

    ``empty`` is shown in place of a table without rows; a cell without a value has a dash.
    """
    panel = table.Panel().title(title).description(description).datasource(DATASOURCE).span(span).height(8)
    panel.show_header(True).unit("none").thresholds(thresholds([(None, "text")])).no_value(empty)
    panel.sort_by([common.TableSortByFieldState().display_name(name).desc(False) for name in sort])
    panel.override_by_regexp(".*", [model.DynamicConfigValue("noValue", DASH)])
    for column in columns:
        panel.override_by_name(column.heading, _properties(column))
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {column.name: place for place, column in enumerate(columns)},
        "renameByName": {column.name: column.heading for column in columns},
    }
    built = targets([query], instant=True, as_table=True)
    return panel.targets(built).transformations([model.DataTransformerConfig(id_val="organize", options=organize)])


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    built = []
    if column.unit:
        built.append(model.DynamicConfigValue("unit", column.unit))
    if column.words:
        options = {
            value: {"text": shown, "index": place} | ({"color": color} if color else {})
            for place, (value, (shown, color)) in enumerate(column.words.items())
        }
        built.append(model.DynamicConfigValue("mappings", [{"type": "value", "options": options}]))
    if column.colored:
        built.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if column.link:
        name, url = column.link
        built.append(model.DynamicConfigValue("links", [{"title": name, "url": url}]))
    return built


def note(title: str, description: str, content: str, *, span: int = 24, height: int = 4) -> text.Panel:
    """Build a panel of Markdown."""
    panel = text.Panel().title(title).description(description).span(span).height(height)
    return panel.mode(TextMode.MARKDOWN).content(content)
