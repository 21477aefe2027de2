"""One section of a snapshot: runs an Evidently report and adds what is finite, small and stable of it."""

import hashlib
import json
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import plotly.io  # type: ignore[import-untyped]  # ships no types
from evidently import Dataset, Report
from evidently.core.metric_types import (
    ByLabelCountValue,
    ByLabelValue,
    CountValue,
    Metric,
    MetricConfig,
    MetricResult,
    SingleValue,
    single_value_location,
)
from evidently.core.report import Snapshot
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    rich_table_data,
    table_data,
)

from evidently_workspace.results import FailedCheck, MetricValue
from model.artifact.traffic import WindowTraffic

METRIC_TYPE = "evidently:metric_v2:"
"""What Evidently puts before the name of a metric's class."""
IDENTIFYING_PARAMETERS = ("type", "column")
"""The parameters that name a point on a chart: what it measures, and of which column. Evidently starts a new
line whenever any parameter changes, so the settings of one window (thresholds, ranges) stay out."""


LEARNING = "learning"
"""The verdict on a value that would have to change grossly to fail, because what is usual is not known yet."""
STILL_LEARNING = (
    "What is usual in this traffic is still being learned. Until it is known, only gross changes alarm; their verdict "
    f'here is "{LEARNING}" while they do not.'
)


MAX_LISTED_ROWS = 100
"""Rows of a table that are shown all at once; of longer ones a page, with a search."""
ROWS_PER_PAGE = 12


class NotEnoughDataError(Exception):
    """A section has too few rows or labels to measure anything."""


def require(what: str, found: int, needed: int) -> None:
    """Raise NotEnoughDataError unless at least `needed` of `what` were found (and at least one)."""
    if found < max(needed, 1):
        raise NotEnoughDataError(f"not enough data ({found} of at least {max(needed, 1)} {what})")


@dataclass
class Section:
    """What one section adds to the snapshot: results by metric id, widgets, checks, values, reasons."""

    title: str
    note: str = ""
    results: dict[str, MetricResult] = field(default_factory=dict)
    widgets: list[BaseWidgetInfo] = field(default_factory=list)
    failed_checks: list[FailedCheck] = field(default_factory=list)
    values: list[MetricValue] = field(default_factory=list)
    not_computed: list[str] = field(default_factory=list)

    def add_value(self, name: str, column: str | None, value: float) -> None:
        """Add a value, unless it is not a finite number."""
        if math.isfinite(value):
            self.values.append(MetricValue(name, column, float(value)))

    def add_result(self, result: MetricResult | None, metric: str | None = None, **labels: str) -> None:
        """Add a metric's result under a stable id; `labels` tell it from another of the same metric.

        `metric` is the name under which Evidently UI finds it, if not that of the metric's own class.
        """
        if result is None:
            return
        params = _params(result) | ({"type": METRIC_TYPE + metric} if metric else {})
        stable = {name: params[name] for name in IDENTIFYING_PARAMETERS if name in params} | labels
        metric_id = hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:32]
        result.set_metric_location(MetricConfig(metric_id=metric_id, params=stable))
        # The figures are in the section's widgets already; a second copy would double the snapshot.
        result.widget = None
        self.results[metric_id] = result

    def say_what_is_learned(self, traffic: WindowTraffic, statistics: Iterable[tuple[str, str | None]]) -> None:
        """Say in the note that only gross changes alarm, if what is usual of some of these is still being learned."""
        if any(traffic.is_learning(name, column) for name, column in statistics):
            self.note = f"{self.note} {STILL_LEARNING}".strip()

    def record(self, name: str, value: float, metric: str, **labels: str) -> None:
        """Add a finite value that no Evidently metric computed, and a result of it under the name of `metric`.

        A label called "label" is the value's column.
        """
        self.add_value(name, labels.get("label"), value)
        self.draw(name, value, metric, **labels)

    def draw(self, name: str, value: float, metric: str, **labels: str) -> None:
        """Add a finite value to the charts of Evidently UI alone, under the name of `metric`."""
        result = SingleValue(value=value, display_name=name.replace("_", " ").capitalize())
        result.metric_value_location = single_value_location(MetricConfig(metric_id=name, params={}))
        self.add_result(result, metric, **labels)


def _params(result: MetricResult) -> dict[str, Any]:
    location = result.get_metric_value_location()
    params: dict[str, Any] = location.metric.params
    return params


def run_report(metrics: Sequence[Metric], current: Dataset, reference: Dataset | None) -> Snapshot:
    """Run an Evidently Report whose figures carry no template of their own."""
    with plain_figures():
        return Report(list(metrics)).run(current, reference)


@contextmanager
def plain_figures() -> Iterator[None]:
    """Let figures made inside carry no template, which is half of a snapshot's JSON, repeated in every figure."""
    template = plotly.io.templates.default
    plotly.io.templates.default = None
    try:
        yield
    finally:
        plotly.io.templates.default = template


def result_of(snapshot: Snapshot, metric: Metric) -> Any:
    """Return the result of a metric of a report on the window."""
    return snapshot.context.get_metric_result(metric.metric_id)


def reference_result_of(snapshot: Snapshot, metric: Metric) -> Any:
    """Return the result of a metric of a report on the reference."""
    return snapshot.context.get_reference_metric_result(metric.metric_id)


def values_by_label(result: ByLabelValue) -> dict[str, float]:
    """Return the numbers of a result by their labels."""
    return {str(label): float(value.value) for label, value in result.values.items()}


def finite(result: MetricResult) -> MetricResult | None:
    """Return the result without values that are NaN or infinite; None when nothing is left.

    Evidently's storage has no NULL for a value: one NaN would make it refuse the whole snapshot.
    """
    if isinstance(result, SingleValue):
        return result if math.isfinite(result.value) else None
    if isinstance(result, CountValue):
        return result if finite(result.count) and finite(result.share) else None
    if isinstance(result, ByLabelValue):
        result.values = {label: value for label, value in result.values.items() if finite(value)}
        return result if result.values else None
    if isinstance(result, ByLabelCountValue):
        return result if all(finite(value) for value in result.shares.values()) else None
    raise TypeError(f"a result of type {type(result).__name__} cannot be stored as points")


def long_table(*, title: str, column_names: Sequence[str], data: Sequence[Sequence[str]]) -> BaseWidgetInfo:
    """Return a table that may have hundreds of rows, the most interesting ones first."""
    if len(data) <= MAX_LISTED_ROWS:
        return table_data(title=title, column_names=column_names, data=data)
    return rich_table_data(
        title=f"{title} ({len(data):,} rows; search for a column)",
        rows_per_page=ROWS_PER_PAGE,
        columns=[ColumnDefinition(name, name) for name in column_names],
        data=[RichTableDataRow(fields=dict(zip(column_names, map(str, row), strict=True))) for row in data],
    )


def figures_of(widgets: Sequence[BaseWidgetInfo] | None, title: str) -> list[BaseWidgetInfo]:
    """Return the figures among some widgets, under another title."""
    figures = [widget for widget in widgets or () if widget.type == WidgetType.BIG_GRAPH.value]
    for figure in figures:
        figure.title = title
    return figures


AnyMetric = TypeVar("AnyMetric", bound=Metric)


class ReferenceComparison(Generic[AnyMetric], metaclass=ABCMeta):
    """The part of a metric's calculation that measures the window, and the reference beside it.

    It has to be the first base of a calculation: from the first base Evidently reads which metric is calculated.
    """

    metric: AnyMetric

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[MetricResult, MetricResult | None]:
        """Return the results of the window and of the reference."""
        del context
        return self._measure(current_data), None if reference_data is None else self._measure(reference_data)

    @abstractmethod
    def _measure(self, dataset: Dataset) -> MetricResult:
        """Return the result of one of the two."""
