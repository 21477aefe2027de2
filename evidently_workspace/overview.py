"""The top of a report: which model, how many rows and labels, and which checks failed."""

from collections.abc import Sequence

from evidently.core.metric_types import MetricConfig, SingleValue, single_value_location
from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data

from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section
from evidently_workspace.window import Window
from model.manifest import Manifest

ROW_COUNT = "evidently:metric_v2:RowCount"


def overview(
    manifest: Manifest,
    window: Window,
    *,
    rows: int,
    labelled_rows: int,
    sampled_fraction: float,
    failed_checks: Sequence[FailedCheck],
) -> Section:
    """Return the first section, which every snapshot has, however few its rows."""
    sample = f" Rows are a sample of {sampled_fraction:.1%} of the window." if sampled_fraction < 1 else ""
    section = Section(
        f"{manifest.name}: {window.title}",
        f"Model version {manifest.version}. Data drift, prediction drift and data quality look at the "
        "predictions made in this window; target drift and performance look at the labels "
        f"that arrived in it.{sample}",
    )
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


def _failed_table(failed_checks: Sequence[FailedCheck]) -> object:
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
