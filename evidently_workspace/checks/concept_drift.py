"""The part of concept drift that classifiers and regressors share: observed errors beside the expected ones."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evidently import Dataset
from evidently.core.metric_types import Metric
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.section import (
    LEARNING,
    AnyMetric,
    ReferenceComparison,
    Section,
    reference_result_of,
    result_of,
    run_report,
    values_by_label,
)
from model.artifact.traffic import WindowTraffic


class ConceptComparison(ReferenceComparison[AnyMetric]):
    """The calculation of a metric of concept drift, of a classifier or a regressor."""

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Concept drift"

    def label_display_name(self, label: Any) -> str:
        """Return the name of one of its values."""
        return f"{self.display_name()}, {str(label).replace('_', ' ')}"


class Errors(NamedTuple):
    """The values of a metric of concept drift by name, in the window and on the reference (empty: not measured)."""

    window: Mapping[str, float]
    reference: Mapping[str, float]


def add_errors(section: Section, metric: Metric, current: Dataset, reference: Dataset | None) -> Errors:
    """Compute a metric of concept drift, add its values and its result to the section, and return the values."""
    snapshot = run_report([metric], current, reference)
    result = result_of(snapshot, metric)
    values = values_by_label(result)
    for name, value in values.items():
        is_error = name.startswith(("observed", "expected"))
        section.add_value(name if is_error else f"concept_{name}", None, value)
    section.add_result(result)
    return Errors(values, {} if reference is None else values_by_label(reference_result_of(snapshot, metric)))


class ErrorRow(NamedTuple):
    """A row of the table: the value called `name`, written in this form; it fails from `limit`, if there is one."""

    title: str
    name: str
    form: str
    limit: float | None = None
    usual: str = ""
    learning: bool = False

    def verdict(self, value: float) -> str:
        """Return the verdict on the value in words."""
        if self.limit is None:
            return ""
        return "drifted" if value >= self.limit else LEARNING if self.learning else "within the threshold"


def judged_row(title: str, name: str, form: str, limit: float, *, traffic: WindowTraffic) -> ErrorRow:
    """Return the row of a z, with what is usual of it in this traffic."""
    usual = traffic.usual(f"concept_{name}", None)
    shown = "" if usual is None else usual.shown(form)
    return ErrorRow(title, name, form, limit, shown, traffic.is_learning(f"concept_{name}", None))


def errors_table(rows: Sequence[ErrorRow], errors: Errors, smallest_gap: str) -> BaseWidgetInfo:
    """Return the table of observed and expected errors; `smallest_gap` is the gap that a failure needs too."""
    data = []
    with_usual = any(row.usual for row in rows)
    for row in rows:
        value = errors.window[row.name]
        known = format(errors.reference[row.name], row.form) if row.name in errors.reference else ""
        fails = "" if row.limit is None else f"from {row.limit:.2f} (also needs a gap of {smallest_gap})"
        usual = [row.usual] if with_usual else []
        data.append([row.title, format(value, row.form), *usual, known, fails, row.verdict(value)])
    header = ["", "Window", *(["Usual"] if with_usual else []), "Reference", "Fails", "Verdict"]
    return table_data(title="Observed and expected errors", column_names=header, data=data)
