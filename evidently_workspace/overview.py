"""The top of a report: which model, how many rows and labels, and which checks failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from evidently.core.metric_types import MetricConfig, SingleValue, single_value_location
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data

from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section
from evidently_workspace.window import Window
from model.manifest import Manifest

ROW_COUNT = "evidently:metric_v2:RowCount"


@dataclass(frozen=True)
class Facts:
    """What a snapshot is of, whatever its sections find."""

    window: Window
    manifest: Manifest
    rows: int
    labelled_rows: int
    sampled_fraction: float

    def metadata(self) -> dict[str, str]:
        """Return the facts as the strings that Evidently UI keeps with a snapshot."""
        return {
            "window": self.window.key,
            "model_version": self.manifest.version,
            "rows": str(self.rows),
            "labelled_rows": str(self.labelled_rows),
            "sampled_fraction": f"{self.sampled_fraction:.6g}",
        }


def overview(facts: Facts, failed_checks: Sequence[FailedCheck]) -> Section:
    """Return the first section, which every snapshot has, however few its rows."""
    fraction = facts.sampled_fraction
    sample = f" Rows are a sample of {fraction:.1%} of the window." if fraction < 1 else ""
    section = Section(
        f"{facts.manifest.name}: {facts.window.title}",
        f"Model version {facts.manifest.version}. Data drift, prediction drift and data quality look at the "
        "predictions made in this window; target drift and performance look at the labels that arrived in "
        f"it.{sample}",
    )
    rows, labelled_rows = facts.rows, facts.labelled_rows
    for name, kind, count in (("rows", "predicted", rows), ("labelled_rows", "labelled", labelled_rows)):
        section.measure(name, None, count)
        section.keep(_row_count(name, count), rows=kind)
    counters = [
        CounterData("Rows", f"{rows:,}"),
        CounterData("Labels arrived", f"{labelled_rows:,}"),
        CounterData("Failed checks", str(len(failed_checks))),
    ]
    section.widgets.append(counter(counters=counters))
    if failed_checks:
        section.widgets.append(_failed_table(failed_checks))
    return section


def _row_count(name: str, count: int) -> SingleValue:
    # Made by hand: Evidently's RowCount cannot run on an empty frame.
    result = SingleValue(value=count, display_name=name.replace("_", " ").capitalize())
    result.metric_value_location = single_value_location(MetricConfig(metric_id=name, params={"type": ROW_COUNT}))
    return result


def _failed_table(failed_checks: Sequence[FailedCheck]) -> BaseWidgetInfo:
    return table_data(
        title="Failed checks",
        column_names=["Check", "Column", "Value", "Threshold"],
        data=[
            [
                check.check.replace("_", " "),
                check.column or "",
                f"{check.value:.4g}",
                f"{check.threshold:.4g}",
            ]
            for check in failed_checks
        ],
    )
