"""Attributions: which features move the model's predictions in a window and on the reference (mean |SHAP|)."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go  # type: ignore[import-untyped]  # ships no types
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelCalculation, ByLabelMetric, ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.options import ColorOptions
from evidently.legacy.renderers.html_widgets import plotly_figure, table_data
from evidently.tests import gte, lt
from numpy.typing import NDArray

from evidently_workspace.panels import written
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import (
    LEARNING,
    NotEnoughDataError,
    ReferenceComparison,
    Section,
    long_table,
    plain_figures,
    require,
    result_of,
    run_report,
    values_by_label,
)
from model.artifact.manifest import Manifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.statistics.attribution import NDCG_ALARM, attribution_distance, attribution_ndcg, attribution_shares

NDCG, DISTANCE = "ndcg", "distance"
MAX_BARS = 20
STATISTICS = {
    NDCG: ("Ranking (nDCG, 1 = as on the reference)", "below"),
    DISTANCE: ("Distance of the shares (0 = as on the reference)", "from"),
}
"""By measure: its title, and on which side of its threshold it fails."""
NOTE = (
    "How to read this: each bar shows how far a feature moves the model's predictions on average. If the ranking or "
    "the shares differ from the reference, the model relies on other features than before, even if its accuracy is "
    "still good."
)


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
    usual: str = ""
    learning: bool = False

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.alarm is None:
            return "no threshold"
        return "drifted" if self.failed else LEARNING if self.learning else "within the threshold"


def attributions(
    explained: NDArray[np.float64] | None,
    missing: str | None,
    manifest: Manifest,
    min_rows: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare the attributions of the window with those of the reference.

    `explained` (rows, features) holds |SHAP| of a sample of the window's rows, in schema order; `missing` says why
    there are none. NotEnoughDataError below `min_rows` rows. Two checks: the nDCG of the ranking fails below 0.9
    (Amazon SageMaker Clarify's threshold), the distance at the threshold calibrated for this number of rows; or where
    `traffic` is known, beyond what is usual in it.
    """
    section = Section("Attributions", NOTE)
    if manifest.attributions is None:
        reason = manifest.attributions_missing or "training made none"
        raise NotEnoughDataError(f"the model has no attributions on the reference: {reason}")
    if explained is None:
        raise NotEnoughDataError(missing or "no row was explained")
    require("explained rows", len(explained), min_rows)
    names = list(manifest.feature_names)
    reference = pd.DataFrame([[manifest.attributions.mean_absolute[name] for name in names]], columns=names)
    current = pd.DataFrame(explained, columns=names)
    if not np.isfinite(explained).all():
        raise ValueError("the attributions hold a value that is not a number")
    _compare(section, current, reference, manifest, traffic)
    return section


def _compare(
    section: Section, current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, traffic: WindowTraffic
) -> None:
    names = list(current)
    lowest = traffic.limit("attribution_ndcg", None, NDCG_ALARM)
    by_rows, limit = manifest.attribution_threshold, None
    if by_rows is not None:
        limit = traffic.limit("attribution_distance", None, by_rows.at(len(current)))
    tests = {NDCG: [gte(lowest)]} | ({} if limit is None else {DISTANCE: [lt(limit)]})
    mean, drift = MeanAttribution(columns=names), AttributionDrift(columns=names, tests=tests)
    definition = DataDefinition(numerical_columns=names)
    snapshot = run_report(
        [mean, drift], *(Dataset.from_pandas(frame, data_definition=definition) for frame in (current, reference))
    )
    result = result_of(snapshot, drift)
    values = values_by_label(result)
    verdicts = [
        _verdict(NDCG, values[NDCG], lowest, failed=values[NDCG] < lowest, traffic=traffic),
        _verdict(
            DISTANCE, values[DISTANCE], limit, failed=limit is not None and values[DISTANCE] >= limit, traffic=traffic
        ),
    ]
    section.say_what_is_learned(traffic, ((f"attribution_{verdict.measure}", None) for verdict in verdicts))
    for verdict in verdicts:
        _add_verdict(section, verdict)
    section.add_value("explained_rows", None, len(current))
    means = result_of(snapshot, mean)
    for name, value in values_by_label(means).items():
        section.add_value("attribution", name, value)
    section.add_result(means)
    section.add_result(result)
    section.widgets += attribution_widgets(verdicts, _rows(current, reference), len(current))


def _verdict(measure: str, value: float, alarm: float | None, *, failed: bool, traffic: WindowTraffic) -> Verdict:
    name = f"attribution_{measure}"
    usual = traffic.usual(name, None)
    shown = "" if usual is None else usual.shown(".4f")
    return Verdict(measure, value, alarm, failed, shown, traffic.is_learning(name, None))


def _add_verdict(section: Section, verdict: Verdict) -> None:
    measure, value, alarm, failed, *_ = verdict
    section.add_value(f"attribution_{measure}", None, value)
    if alarm is not None and failed:
        section.failed_checks.append(FailedCheck("attribution_drift", None, value, alarm, measure))


def _rows(current: pd.DataFrame, reference: pd.DataFrame) -> list[Attribution]:
    now, then = (frame.to_numpy("float64").mean(axis=0) for frame in (current, reference))
    shares = zip(current, now, then, attribution_shares(now), attribution_shares(then), strict=True)
    return [Attribution(str(name), *map(float, values)) for name, *values in shares]


class MeanAttribution(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Mean |SHAP| of each of the `columns`, which hold |SHAP| row by row."""

    columns: list[str]


class MeanAttributionCalculation(ReferenceComparison[MeanAttribution], ByLabelCalculation[MeanAttribution]):  # type: ignore[misc]
    """Calculates MeanAttribution on the window, and on the reference beside it."""

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Mean |SHAP|"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()} of {label}"

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        means = mean_attributions(dataset, self.metric.columns)
        return self.result(dict(zip(self.metric.columns, means.tolist(), strict=True)))


class AttributionDrift(ByLabelMetric):  # type: ignore[misc]
    """nDCG and distance (see model.statistics.attribution) of the mean |SHAP| of the `columns`."""

    columns: list[str]


class AttributionDriftCalculation(ByLabelCalculation[AttributionDrift]):  # type: ignore[misc]
    """Calculates AttributionDrift of the window against the reference, which it needs."""

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> ByLabelValue:
        """Return the result; ValueError without a reference."""
        del context
        if reference_data is None:
            raise ValueError("attribution drift needs a reference")
        reference, current = (mean_attributions(data, self.metric.columns) for data in (reference_data, current_data))
        values = {
            NDCG: float(attribution_ndcg(reference, current[None])[0]),
            DISTANCE: float(attribution_distance(reference, current[None])[0]),
        }
        return self.result(values)

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Attribution drift"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()}, {'nDCG' if label == NDCG else label}"


def mean_attributions(dataset: Dataset, columns: list[str]) -> NDArray[np.float64]:
    """Return the mean of each column (features,)."""
    rows: NDArray[np.float64] = dataset.as_dataframe()[columns].to_numpy("float64")
    return np.asarray(rows.mean(axis=0))


def attribution_widgets(verdicts: list[Verdict], rows: list[Attribution], explained: int) -> list[BaseWidgetInfo]:
    """Return the verdicts, the bars of the features that matter most, and the table of all features."""
    ordered = sorted(rows, key=lambda row: max(row.window_share, row.reference_share), reverse=True)
    return [_verdicts_table(verdicts), _bars(ordered[:MAX_BARS], len(rows), explained), _features_table(ordered)]


def _verdicts_table(verdicts: list[Verdict]) -> BaseWidgetInfo:
    cells = []
    with_usual = any(verdict.usual for verdict in verdicts)
    for verdict in verdicts:
        title, side = STATISTICS[verdict.measure]
        fails = "" if verdict.alarm is None else f"{side} {verdict.alarm:.4f}"
        usual = [verdict.usual] if with_usual else []
        cells.append([title, verdict.text, f"{verdict.value:.4f}", *usual, fails])
    header = ["Statistic", "Verdict", "Value", *(["Usual"] if with_usual else []), "Fails"]
    return table_data(title="Attribution drift", column_names=header, data=cells)


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
    return long_table(
        title="Attribution of each feature",
        column_names=["Feature", "Place", "Place on the reference", "Share", "Share on the reference", "Mean |SHAP|"],
        data=[
            [
                row.feature,
                str(window[row.feature]),
                str(reference[row.feature]),
                f"{row.window_share:.1%}",
                f"{row.reference_share:.1%}",
                written(row.window),
            ]
            for row in rows
        ],
    )
