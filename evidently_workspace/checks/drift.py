"""Drift of features, predictions and labels: one distance per column against its calibrated threshold."""

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

from evidently_workspace.frames import columns_dataset, with_few_new_values
from evidently_workspace.results import Check, FailedCheck
from evidently_workspace.section import Section, finite, plain_figures, require, run_report
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, DriftMethod, DriftThreshold, Manifest
from model.statistics.drift import WassersteinStatistic
from model.statistics.windows import single_window

_IN_DEVIATIONS = StatTest(
    name="wasserstein_in_deviations",
    display_name="Wasserstein, in standard deviations",
    allowed_feature_types=[ColumnType.Numerical],
    default_threshold=0.1,
)
STATTESTS: dict[DriftMethod, str] = {"wasserstein": _IN_DEVIATIONS.name, "jensenshannon": "jensenshannon"}
"""Evidently's name of each method. Its own "wasserstein" divides by no less than 0.001, whatever the unit."""


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
    """ValueDrift as it is, except that its result comes without figures.

    Drawing takes more than half of the time of a wide model's data drift, and a report shows few of them.
    """

    __calculation_type__: ClassVar[type] = ColumnDriftCalculation


MAX_FIGURES = 12
"""Columns whose figures are drawn, furthest from the reference first: figures are most of the time and of the size
of a wide model's report."""
METHOD_NAMES = {
    "wasserstein": "Wasserstein, in standard deviations",
    "jensenshannon": "Jensen-Shannon",
}


class DriftRow(NamedTuple):
    """The verdict on one column, and the id of the metric that can draw it."""

    column: str
    method: str
    distance: float
    threshold: float
    drifted: bool
    metric_id: str


def drift_widgets(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> list[BaseWidgetInfo]:
    """Return a table that unfolds into figures; for a single column, a plain table and its figures."""
    if len(rows) > 1:
        return [_unfolding_table(rows, metric)]
    return [_plain_table(rows[0]), *_figures(rows[0], metric).values()]


def _unfolding_table(rows: list[DriftRow], metric: Callable[[str], ColumnDriftCalculation]) -> BaseWidgetInfo:
    # Columns that drifted come first, then those closest to it.
    ordered = sorted(rows, key=lambda row: row.distance / row.threshold, reverse=True)
    drifted = sum(row.drifted for row in rows)
    only = f"; figures of the {MAX_FIGURES} furthest from the reference" if len(rows) > MAX_FIGURES else ""
    return rich_table_data(
        title=f"{drifted} of {len(rows)} columns drifted{only}",
        columns=[ColumnDefinition(title, title) for title in _cells(rows[0])],
        data=[
            _table_row(row, _figures(row, metric) if place < MAX_FIGURES else {}) for place, row in enumerate(ordered)
        ],
    )


def _plain_table(row: DriftRow) -> BaseWidgetInfo:
    cells = _cells(row)
    return table_data(title="", column_names=list(cells), data=[list(cells.values())])


def _table_row(row: DriftRow, figures: dict[str, BaseWidgetInfo]) -> RichTableDataRow:
    details = RowDetails()
    for title, figure in figures.items():
        details.with_part(title, figure)
    return RichTableDataRow(fields=_cells(row), details=details)


def _figures(row: DriftRow, metric: Callable[[str], ColumnDriftCalculation]) -> dict[str, BaseWidgetInfo]:
    with plain_figures():
        return metric(row.metric_id).draw()


def _cells(row: DriftRow) -> dict[str, str]:
    return {
        "Column": row.column,
        "Verdict": "drifted" if row.drifted else "within the threshold",
        "Distance": f"{row.distance:.4f}",
        "Threshold": f"{row.threshold:.4f}",
        "Method": METHOD_NAMES[row.method],
    }


QUANTILES = {0.05: "5 % lie below", 0.5: "Half lie below", 0.95: "95 % lie below"}


class NumberSummary:
    """Mean and quantiles of one column of a report."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._mean = MeanValue(column=column)
        self._quantiles = {share: QuantileValue(column=column, quantile=share) for share in QUANTILES}

    @property
    def metrics(self) -> list[Metric]:
        """The metrics for the report to compute."""
        return [self._mean, *self._quantiles.values()]

    def keep(self, section: Section, snapshot: Snapshot) -> None:
        """Put values and their table into the section."""
        results = [self._keep(section, snapshot, self._mean, f"{self._column}_mean")]
        for share, metric in self._quantiles.items():
            results.append(self._keep(section, snapshot, metric, f"{self._column}_quantile", label=str(share)))
        titles = ["Mean", *QUANTILES.values()]
        rows = [[title, *(f"{value:.4g}" for value in values)] for title, values in zip(titles, results, strict=True)]
        table = table_data(title="Where the numbers lie", column_names=["", "Window", "Reference"], data=rows)
        section.widgets.append(table)

    @staticmethod
    def _keep(section: Section, snapshot: Snapshot, metric: Metric, name: str, **labels: str) -> tuple[float, float]:
        result = snapshot.context.get_metric_result(metric.metric_id)
        reference = snapshot.context.get_reference_metric_result(metric.metric_id)
        section.measure(name, labels.get("label"), result.value)
        section.keep(finite(result), **labels)
        return float(result.value), float(reference.value)


class _Question(NamedTuple):
    """Which columns of two frames to compare, and what the answers are called."""

    check: Check
    columns: list[str]
    current: pd.DataFrame
    reference: pd.DataFrame
    min_values: int


def data_drift(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_rows: int) -> Section:
    """Compare each feature of the window with the reference; NotEnoughDataError below `min_rows` rows."""
    require("rows", len(current), min_rows)
    section = Section("Data drift", "Each feature of the window's predictions against the reference.")
    question = _Question("data_drift", list(manifest.feature_names), current, reference, min_rows)
    thresholds = _usable_thresholds(section, question, manifest)
    if thresholds:
        counted = DriftedColumnsCount(
            columns=list(thresholds),
            per_column_method={name: STATTESTS[threshold.method] for name, (threshold, _) in thresholds.items()},
            per_column_threshold={name: limit for name, (_, limit) in thresholds.items()},
        )
        snapshot = _compare(section, question, thresholds, manifest, [counted])
        drifted = snapshot.context.get_metric_result(counted.metric_id)
        section.keep(drifted)
        section.measure("drifted_columns", None, drifted.count.value)
        section.measure("drifted_share", None, drifted.share.value)
    return section


def prediction_drift(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_rows: int) -> Section:
    """Compare the predicted classes or numbers with those on the reference; NotEnoughDataError below `min_rows`."""
    require("rows", len(current), min_rows)
    kind = "classes" if isinstance(manifest, ClassifierManifest) else "numbers"
    section = Section("Prediction drift", f"The {kind} predicted in the window against those on the reference.")
    question = _Question("prediction_drift", [PREDICTION], current, reference, min_rows)
    _compare_answers(section, question, manifest)
    return section


def target_drift(labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_labels: int) -> Section:
    """Compare the labels that arrived with those of the reference; NotEnoughDataError below `min_labels`."""
    require("labels", len(labelled), min_labels)
    section = Section("Target drift", "The labels that arrived in the window against those of the reference.")
    question = _Question("target_drift", [LABEL], labelled, reference, min_labels)
    _compare_answers(section, question, manifest)
    return section


Thresholds = dict[str, tuple[DriftThreshold, float]]
"""By column: the calibrated threshold, and its value for this window."""


def _compare_answers(section: Section, question: _Question, manifest: Manifest) -> None:
    thresholds = _usable_thresholds(section, question, manifest)
    if not thresholds:
        return
    (column,) = question.columns
    if isinstance(manifest, ClassifierManifest):
        counts = UniqueValueCount(column=column)
        snapshot = _compare(section, question, thresholds, manifest, [counts])
        section.keep(finite(snapshot.context.get_metric_result(counts.metric_id)))
    else:
        spread = NumberSummary(column)
        spread.keep(section, _compare(section, question, thresholds, manifest, spread.metrics))


def _usable_thresholds(section: Section, question: _Question, manifest: Manifest) -> Thresholds:
    # The sample of a statistic is the values that are there, so the threshold is that of their number.
    calibrated = {threshold.column: threshold for threshold in manifest.thresholds}
    usable: Thresholds = {}
    for column in question.columns:
        values = int(question.current[column].notna().sum())
        if values < max(question.min_values, 1):
            section.not_computed.append(f"{column}: not enough data ({values} values, the rest is missing)")
        elif not question.reference[column].notna().any():
            section.not_computed.append(f"{column}: the reference has no values")
        elif column not in calibrated:
            section.not_computed.append(f"{column}: training calibrated no threshold for it")
        else:
            usable[column] = (calibrated[column], calibrated[column].at(values))
    return usable


def _compare(
    section: Section,
    question: _Question,
    thresholds: Thresholds,
    manifest: Manifest,
    also: list[Metric],
) -> Snapshot:
    """Measure the distance of each column, record the verdicts, return what has the results of `also`."""
    drifts = {
        column: ColumnDrift(column=column, method=STATTESTS[threshold.method], threshold=limit, tests=[lt(limit)])
        for column, (threshold, limit) in thresholds.items()
    }
    few = question.current
    if question.check == "data_drift":
        few = with_few_new_values(few, question.reference, manifest)
    current = columns_dataset(few, list(thresholds), manifest)
    reference = columns_dataset(question.reference, list(thresholds), manifest)
    snapshot = run_report([*also, *drifts.values()], current, reference)
    rows: list[DriftRow] = []
    for column, drift in drifts.items():
        result = snapshot.context.get_metric_result(drift.metric_id)
        if finite(result) is None:
            section.not_computed.append(f"{column}: the distance is not a number")
            continue
        threshold, limit = thresholds[column]
        failed = result.value >= limit
        if failed:
            section.failed_checks.append(FailedCheck(question.check, column, float(result.value), limit))
        is_feature = question.check == "data_drift"
        section.measure(question.check, column if is_feature else None, result.value)
        rows.append(DriftRow(column, threshold.method, float(result.value), limit, failed, drift.metric_id))
        section.keep(result, "ValueDrift")
    section.widgets += drift_widgets(rows, snapshot.context.get_metric) if rows else []
    return snapshot
