"""The table and the bars of the attributions section."""

from typing import NamedTuple

import plotly.graph_objects as go  # type: ignore[import-untyped]  # ships no types
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.options import ColorOptions
from evidently.legacy.renderers.html_widgets import plotly_figure, table_data

from evidently_workspace.attribution_metrics import NDCG
from evidently_workspace.section import plain_figures

MOST_BARS = 20


class Attribution(NamedTuple):
    """Mean |SHAP| of one feature in the window and on the reference, and its shares of the sums over features."""

    feature: str
    window: float
    reference: float
    window_share: float
    reference_share: float


class Verdict(NamedTuple):
    """One statistic of the drift; without an alarm threshold there is no verdict."""

    measure: str
    value: float
    alarm: float | None
    failed: bool


def attribution_widgets(verdicts: list[Verdict], rows: list[Attribution], explained: int) -> list[BaseWidgetInfo]:
    """Return the verdicts, the bars of the features that matter most, and the table of all features."""
    ordered = sorted(rows, key=lambda row: max(row.window_share, row.reference_share), reverse=True)
    return [_verdicts_table(verdicts), _bars(ordered[:MOST_BARS], len(rows), explained), _features_table(ordered)]


def _verdicts_table(verdicts: list[Verdict]) -> BaseWidgetInfo:
    cells = []
    for verdict in verdicts:
        is_ranking = verdict.measure == NDCG
        cells.append(
            [
                "Ranking (nDCG, 1 = the reference's)" if is_ranking else "Distance of the shares (0 = the same)",
                "no threshold" if verdict.alarm is None else "drifted" if verdict.failed else "within the threshold",
                f"{verdict.value:.4f}",
                "" if verdict.alarm is None else f"{'below' if is_ranking else 'from'} {verdict.alarm:.4f}",
            ]
        )
    return table_data(title="Attribution drift", column_names=["Statistic", "Verdict", "Value", "Fails"], data=cells)


def _bars(rows: list[Attribution], features: int, explained: int) -> BaseWidgetInfo:
    colors = ColorOptions()
    # Plotly draws from the bottom up; the reference goes first so that the window stands above it.
    names = [row.feature for row in reversed(rows)]
    with plain_figures():
        figure = go.Figure(
            [
                go.Bar(
                    name=title,
                    y=names,
                    x=[getattr(row, field) for row in reversed(rows)],
                    orientation="h",
                    marker={"color": color},
                )
                for title, field, color in (
                    ("reference", "reference", colors.get_reference_data_color()),
                    ("current", "window", colors.get_current_data_color()),
                )
            ]
        )
        figure.update_layout(
            barmode="group",
            height=140 + 36 * len(rows),
            xaxis_title="mean |SHAP|",
            yaxis={"automargin": True, "type": "category"},
            legend={"traceorder": "reversed"},
        )
        shown = "" if len(rows) == features else f", the {len(rows)} strongest of {features} features"
        return plotly_figure(title=f"What moves the predictions ({explained:,} rows explained{shown})", figure=figure)


def _features_table(rows: list[Attribution]) -> BaseWidgetInfo:
    window, reference = (
        {row.feature: place for place, row in enumerate(sorted(rows, key=key, reverse=True), start=1)}
        for key in (lambda row: row.window, lambda row: row.reference)
    )
    return table_data(
        title="Attribution of each feature",
        column_names=["Feature", "Place", "Place on the reference", "Share", "Share on the reference", "Mean |SHAP|"],
        data=[
            [
                row.feature,
                str(window[row.feature]),
                str(reference[row.feature]),
                f"{row.window_share:.1%}",
                f"{row.reference_share:.1%}",
                f"{row.window:.4g}",
            ]
            for row in rows
        ],
    )
