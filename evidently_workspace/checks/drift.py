"""Drift of features, predictions and labels: one distance per column against its calibrated threshold."""

import math
from abc import ABC
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    RowDetails,
    rich_table_data,
    table_data,
)
from evidently.metrics import DriftedColumnsCount, MeanValue, QuantileValue, UniqueValueCount, ValueDrift
from evidently.metrics.column_statistics import ValueDriftCalculation
from evidently.tests import lt

from evidently_workspace.checks import CheckName
from evidently_workspace.frames import columns_dataset, comparable, shortened
from evidently_workspace.panels import MAX_DRAWN_RATIO, written
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import (
    LEARNING,
    ROWS_PER_PAGE,
    Section,
    finite,
    plain_figures,
    reference_result_of,
    require,
    result_of,
    run_report,
)
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, DriftMethod, DriftThreshold, Manifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.data.encoding import number_features
from model.statistics.drift import WassersteinStatistic, in_deviations
from model.statistics.drift import joint_drift as compare_jointly
from model.statistics.windows import single_window

MAX_FIGURES = 12
"""Columns whose figures are drawn, furthest from the reference first: figures are most of the time and of the size
of a wide model's report."""
MAX_PAIRS = 8
JOINT_NOTE = (
    "How well the rows of the window can be told from those of the reference by how their columns go together, each "
    "column by itself taken as equal: 0.5 is not at all, 1 always. It carries no alarm: real traffic differs so from "
    "day to day. Look here when performance fell and no single column moved."
)
QUANTILES = {0.05: "5 % lie below", 0.5: "Half lie below", 0.95: "95 % lie below"}

Thresholds = dict[str, tuple[DriftThreshold, float]]
"""By column: the calibrated threshold, and its value for this window."""


class _Comparison(NamedTuple):
    """The columns of two frames that a check compares."""

    check: CheckName
    columns: list[str]
    current: pd.DataFrame
    reference: pd.DataFrame
    min_values: int
    traffic: WindowTraffic


def data_drift(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    min_rows: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare each feature of the window with the reference; NotEnoughDataError below `min_rows` rows."""
    require("rows", len(current), min_rows)
    section = Section("Data drift", "The features of the window's predictions compared with the reference.")
    comparison = _Comparison("data_drift", list(manifest.feature_names), current, reference, min_rows, traffic)
    thresholds = _usable_thresholds(section, comparison, manifest)
    _add_means(section, current, reference, manifest)
    if thresholds:
        counted = DriftedColumnsCount(
            columns=list(thresholds),
            per_column_method={name: STATTESTS[threshold.method] for name, (threshold, _) in thresholds.items()},
            per_column_threshold={name: limit for name, (_, limit) in thresholds.items()},
        )
        drifted = result_of(_compare(section, comparison, thresholds, manifest, [counted]), counted)
        section.add_result(drifted)
        section.add_value("drifted_columns", None, drifted.count.value)
        section.add_value("drifted_share", None, drifted.share.value)
    return section


def _add_means(section: Section, current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> None:
    """Add the mean of each number column in standard deviations: what several windows are gathered by."""
    for feature in number_features(manifest.features):
        known = reference[feature.name].dropna().to_numpy("float64")
        values = current[feature.name].dropna().to_numpy("float64")
        if len(known) and len(values):
            section.add_value("mean", feature.name, in_deviations(values, known).mean())


def joint_drift(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> Section:
    """Show how columns go together; a figure that carries no alarm. The section is empty where rows are too few."""
    section = Section("How columns go together", JOINT_NOTE)
    found = compare_jointly(current, reference, manifest.features)
    if found is None:
        return section
    section.add_value("joint_drift", None, found.separation)
    header = ["Columns", "Rank correlation, reference", "in this window"]
    rows = [[shortened(f"{one}, {other}"), f"{before:.2f}", f"{now:.2f}"] for one, other, before, now in found.pairs]
    title = f"ROC AUC {found.separation:.3f}; the pairs that changed most"
    section.widgets.append(table_data(title=title, column_names=header, data=rows[:MAX_PAIRS]))
    return section


def prediction_drift(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    min_rows: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare the predicted classes or numbers with those on the reference; NotEnoughDataError below `min_rows`."""
    require("rows", len(current), min_rows)
    kind = "classes" if isinstance(manifest, ClassifierManifest) else "numbers"
    section = Section("Prediction drift", f"The {kind} predicted in the window compared with those on the reference.")
    _compare_answers(
        section, _Comparison("prediction_drift", [PREDICTION], current, reference, min_rows, traffic), manifest
    )
    return section


def target_drift(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    min_labels: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare the labels that arrived with those of the reference; NotEnoughDataError below `min_labels`."""
    require("labels", len(labelled), min_labels)
    section = Section("Target drift", "The labels that arrived in the window compared with those of the reference.")
    _compare_answers(section, _Comparison("target_drift", [LABEL], labelled, reference, min_labels, traffic), manifest)
    return section


def _compare_answers(section: Section, comparison: _Comparison, manifest: Manifest) -> None:
    thresholds = _usable_thresholds(section, comparison, manifest)
    if not thresholds:
        return
    (column,) = comparison.columns
    if isinstance(manifest, ClassifierManifest):
        counts = UniqueValueCount(column=column)
        snapshot = _compare(section, comparison, thresholds, manifest, [counts])
        section.add_result(finite(result_of(snapshot, counts)))
        for name in manifest.class_names:
            section.add_value(f"{column}_share", name, (comparison.current[column] == name).mean())
    else:
        mean = MeanValue(column=column)
        quantiles = [QuantileValue(column=column, quantile=share) for share in QUANTILES]
        snapshot = _compare(section, comparison, thresholds, manifest, [mean, *quantiles])
        _summarize_numbers(section, snapshot, column, mean, quantiles)


def _usable_thresholds(section: Section, comparison: _Comparison, manifest: Manifest) -> Thresholds:
    # The sample of a statistic is the values that are there, so the threshold is that of their number.
    calibrated = {threshold.column: threshold for threshold in manifest.thresholds}
    usable: Thresholds = {}
    for column in comparison.columns:
        values = int(comparison.current[column].notna().sum())
        if values < max(comparison.min_values, 1):
            section.not_computed.append(f"{column}: not enough data ({values} values, the rest is missing)")
        elif not comparison.reference[column].notna().any():
            section.not_computed.append(f"{column}: the reference has no values")
        elif column not in calibrated:
            section.not_computed.append(f"{column}: training calibrated no threshold for it")
        else:
            limit = comparison.traffic.limit(comparison.check, column, calibrated[column].at(values))
            usable[column] = (calibrated[column], limit)
    return usable


def _compare(
    section: Section, comparison: _Comparison, thresholds: Thresholds, manifest: Manifest, also: list[Metric]
) -> Snapshot:
    """Measure the distance of each column, add the verdicts, and return the report, which also computed `also`."""
    drifts = {
        column: ColumnDrift(column=column, method=STATTESTS[threshold.method], threshold=limit, tests=[lt(limit)])
        for column, (threshold, limit) in thresholds.items()
    }
    compared = comparison.current, comparison.reference
    if comparison.check == "data_drift":
        compared = comparable(*compared, manifest)
    frames = (columns_dataset(frame, list(thresholds), manifest) for frame in compared)
    snapshot = run_report([*also, *drifts.values()], *frames)
    rows = []
    for column, drift in drifts.items():
        result = result_of(snapshot, drift)
        if finite(result) is None:
            section.not_computed.append(f"{column}: the distance is not a number")
            continue
        row = _row(comparison, *thresholds[column], result, drift.metric_id)
        _add_distance(section, comparison.check, row)
        section.add_result(result, "ValueDrift")
        rows.append(row)
    section.widgets += drift_widgets(rows, snapshot.context.get_metric) if rows else []
    section.say_what_is_learned(comparison.traffic, ((comparison.check, row.column) for row in rows))
    return snapshot


class DriftRow(NamedTuple):
    """The verdict on one column, what is usual for it, and the id of the metric that can draw it."""

    column: str
    method: DriftMethod
    distance: float
    threshold: float
    drifted: bool
    metric_id: str
    usual: str = ""
    learning: bool = False

    @property
    def ratio(self) -> float:
        """The distance in thresholds: from 1 on it alarms. Infinite where any distance at all does."""
        if self.threshold > 0:
            return self.distance / self.threshold
        return math.inf if self.distance > 0 else 1.0

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return "drifted" if self.drifted else LEARNING if self.learning else "within the threshold"


def _row(comparison: _Comparison, threshold: DriftThreshold, limit: float, result: Any, metric_id: str) -> DriftRow:
    column, distance, statistic = threshold.column, float(result.value), (comparison.check, threshold.column)
    usual = comparison.traffic.usual(*statistic)
    return DriftRow(
        column,
        threshold.method,
        distance,
        limit,
        drifted=distance >= limit,
        metric_id=metric_id,
        usual="" if usual is None else usual.shown(".4f"),
        learning=comparison.traffic.is_learning(*statistic),
    )


def _add_distance(section: Section, check: CheckName, row: DriftRow) -> None:
    if row.drifted:
        section.failed_checks.append(FailedCheck(check, row.column, row.distance, row.threshold))
    column = row.column if check == "data_drift" else None
    section.add_value(check, column, row.distance)
    section.add_value(f"{check}_ratio", column, row.ratio)
    section.draw(f"{check}_ratio", min(row.ratio, MAX_DRAWN_RATIO), "DriftRatio", column=row.column)


def _summarize_numbers(
    section: Section, snapshot: Snapshot, column: str, mean: Metric, quantiles: list[Metric]
) -> None:
    """Add mean and quantiles of predicted numbers or of labels, and a table of them."""
    points: list[tuple[str, Metric, str, dict[str, str]]] = [("Mean", mean, f"{column}_mean", {})]
    for (share, title), metric in zip(QUANTILES.items(), quantiles, strict=True):
        points.append((title, metric, f"{column}_quantile", {"label": str(share)}))
    rows = []
    for title, metric, name, labels in points:
        result, reference = result_of(snapshot, metric), reference_result_of(snapshot, metric)
        rows.append([title, written(result.value), written(reference.value)])
        section.add_value(name, labels.get("label"), result.value)
        section.add_result(finite(result), **labels)
    table = table_data(title="Distribution of the numbers", column_names=["", "Window", "Reference"], data=rows)
    section.widgets.append(table)


_IN_DEVIATIONS = StatTest(
    name="wasserstein_in_deviations",
    display_name="Wasserstein, in standard deviations",
    allowed_feature_types=[ColumnType.Numerical],
    default_threshold=0.1,
)
STATTESTS: dict[DriftMethod, str] = {"wasserstein": _IN_DEVIATIONS.name, "jensenshannon": "jensenshannon"}
"""Evidently's name of each method. Its own "wasserstein" divides by no less than 0.001, whatever the unit."""
METHOD_TITLES: dict[DriftMethod, str] = {
    "wasserstein": _IN_DEVIATIONS.display_name,
    "jensenshannon": "Jensen-Shannon",
}


def _distance(reference: pd.Series, current: pd.Series, _kind: ColumnType, threshold: float) -> tuple[float, bool]:
    distance = float(WassersteinStatistic(reference, current).distances(single_window(len(current)))[0])
    return distance, distance >= threshold


register_stattest(_IN_DEVIATIONS, _distance)


class ColumnDriftCalculation(ValueDriftCalculation, ABC):  # type: ignore[misc]  # Evidently ships no types
    """Calculates the distance and remembers how to draw it. ABC keeps Evidently from making it ValueDrift's own."""

    _drawing: Callable[[], list[BaseWidgetInfo]]

    def draw(self) -> dict[str, BaseWidgetInfo]:
        """Return the figures by title: the two distributions first, then the window in the order of its rows."""
        tabs = {tab.title: tab.widget for widget in self._drawing() for tab in widget.tabs or []}
        return dict(reversed(tabs.items()))

    def _render(self, *arguments: Any) -> list[BaseWidgetInfo]:
        self._drawing = partial(super()._render, *arguments)
        return []


class ColumnDrift(ValueDrift):  # type: ignore[misc]
    """Evidently's ValueDrift, but its result has no figures.

    Drawing takes more than half of the time of a wide model's data drift, and a report shows few of them.
    """

    __calculation_type__: ClassVar[type] = ColumnDriftCalculation


def drift_widgets(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> list[BaseWidgetInfo]:
    """Return a table that unfolds into figures; for a single column, a plain table and its figures."""
    if len(rows) > 1:
        return [_unfolding_table(rows, metric)]
    cells = _cells(rows[0], with_usual=bool(rows[0].usual))
    table = table_data(title="", column_names=list(cells), data=[list(cells.values())])
    return [table, *_figures(rows[0], metric).values()]


def _unfolding_table(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> BaseWidgetInfo:
    # Columns that drifted come first, then those closest to it.
    ordered = sorted(rows, key=lambda row: row.ratio, reverse=True)
    with_usual = any(row.usual for row in rows)
    drifted = sum(row.drifted for row in rows)
    only = f"; figures of the {MAX_FIGURES} furthest from the reference" if len(rows) > MAX_FIGURES else ""
    return rich_table_data(
        title=f"{drifted} of {len(rows)} columns drifted{only}",
        rows_per_page=ROWS_PER_PAGE,
        columns=[ColumnDefinition(title, title) for title in _cells(rows[0], with_usual=with_usual)],
        data=[
            _table_row(_cells(row, with_usual=with_usual), _figures(row, metric) if place < MAX_FIGURES else {})
            for place, row in enumerate(ordered)
        ],
    )


def _table_row(cells: dict[str, str], figures: dict[str, BaseWidgetInfo]) -> RichTableDataRow:
    details = RowDetails()
    for title, figure in figures.items():
        details.with_part(title, figure)
    return RichTableDataRow(fields=cells, details=details)


def _figures(row: DriftRow, metric: Callable[[str], ColumnDriftCalculation]) -> dict[str, BaseWidgetInfo]:
    with plain_figures():
        return metric(row.metric_id).draw()


def _cells(row: DriftRow, *, with_usual: bool) -> dict[str, str]:
    return {
        "Column": row.column,
        "Verdict": row.verdict,
        "Distance": f"{row.distance:.4f}",
        **({"Usual": row.usual} if with_usual else {}),
        "Threshold": f"{row.threshold:.4f}",
        "Method": METHOD_TITLES[row.method],
    }
