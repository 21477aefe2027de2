"""The top of a report: which model, how many rows and labels, and which checks failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, counter

from evidently_workspace.checks import CHECKS
from evidently_workspace.client import ORIGIN
from evidently_workspace.panels import written
from evidently_workspace.results import FailedCheck, MutedCheck
from evidently_workspace.section import Section, long_table
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.artifact.traffic import ThresholdOverride

SCORES = ("accuracy", "mean_absolute_error")
"""The score shown for each version: every classifier has the first, every regressor the second."""


@dataclass(frozen=True)
class Facts:
    """The model, the window and the rows of a snapshot, known before anything is measured."""

    window: Window
    manifest: Manifest
    rows: int
    labelled_rows: int
    sampled_fraction: float
    rows_by_version: Mapping[str, int] = field(default_factory=dict)
    other_labels: int = 0
    origin: str | None = None
    next_step: Callable[[FailedCheck], str] | None = None
    muted_checks: tuple[MutedCheck, ...] = ()

    @property
    def version_rows(self) -> dict[str, int]:
        """Return how many rows each version predicted in the window, the measured one among them."""
        return {self.manifest.version: self.rows} | dict(self.rows_by_version)

    @property
    def other_rows(self) -> int:
        """Return how many rows other versions predicted, which are not measured."""
        return sum(rows for version, rows in self.version_rows.items() if version != self.manifest.version)

    @property
    def labelled_share(self) -> float | None:
        """Return the labels that arrived per row predicted, which is above 1 when late labels catch up."""
        return self.labelled_rows * self.sampled_fraction / self.rows if self.rows else None

    def metadata(self) -> dict[str, str]:
        """Return the facts as the strings that Evidently UI keeps with a snapshot."""
        origin = {} if self.origin is None else {ORIGIN: self.origin}
        return origin | {
            "window": self.window.key,
            "model_version": self.manifest.version,
            "rows": str(self.rows),
            "labelled_rows": str(self.labelled_rows),
            "sampled_fraction": f"{self.sampled_fraction:.6g}",
            "rows_of_other_versions": str(self.other_rows),
            "labels_of_other_versions": str(self.other_labels),
        }


def overview(facts: Facts, sections: Sequence[Section]) -> Section:
    """Return the first section, which every snapshot has, even without any rows."""
    failed_checks = [check for section in sections for check in section.failed_checks]
    section = Section(f"{facts.manifest.name}: {facts.window.title}", _scope(facts))
    section.record("rows", facts.rows, "RowCount", rows="predicted")
    section.record("labelled_rows", facts.labelled_rows, "RowCount", rows="labelled")
    counters = [CounterData("Rows", f"{facts.rows:,}"), CounterData("Labels arrived", f"{facts.labelled_rows:,}")]
    if (share := facts.labelled_share) is not None:
        section.record("labelled_share", share, "LabelledShare")
        counters.append(CounterData("Labels per row", f"{share:.0%}"))
    # If nothing could be measured, "no failed check" would promise too much.
    if any(other.values for other in sections):
        section.record("failed_checks", len(failed_checks), "FailedChecks")
        _draw_for_the_dashboard(section, failed_checks)
        _record_by_version(section, facts, failed_checks, sections)
        counters.append(CounterData("Failed checks", str(len(failed_checks))))
    for version, rows in facts.version_rows.items():
        section.record("version_rows", rows, "VersionRows", label=version)
    section.widgets.append(counter(counters=counters))
    if failed_checks:
        section.widgets.append(_failed_table(failed_checks))
        if facts.next_step is not None:
            section.widgets.append(_next_steps(failed_checks, facts.next_step))
    if facts.muted_checks:
        section.widgets.append(_muted_table(facts.muted_checks))
    if facts.manifest.overrides:
        section.widgets.append(_overrides_table(facts.manifest.overrides))
    return section


def _draw_for_the_dashboard(section: Section, failed_checks: Sequence[FailedCheck]) -> None:
    """Add what only the charts of the dashboard need: failures by kind, and the level of the alarm."""
    for check in CHECKS:
        count = sum(failed.check == check.name for failed in failed_checks)
        section.draw("failed_checks_of_kind", count, "FailedChecksOfKind", check=check.name)
    section.draw("threshold", 1.0, "Threshold")


def _record_by_version(
    section: Section, facts: Facts, failed_checks: Sequence[FailedCheck], sections: Sequence[Section]
) -> None:
    """Record the values of the charts that have a line for each version."""
    version = facts.manifest.version
    section.record("version_failed_checks", len(failed_checks), "VersionFailedChecks", label=version)
    for value in (value for other in sections for value in other.values if value.name in SCORES):
        section.record(f"version_{value.name}", value.value, "VersionScore", score=value.name, label=version)


def _scope(facts: Facts) -> str:
    fraction = facts.sampled_fraction
    sample = f" Rows are a sample of {fraction:.1%} of the window." if fraction < 1 else ""
    others = ""
    if facts.other_rows or facts.other_labels:
        others = (
            f" {facts.other_rows:,} rows of the window, and {facts.other_labels:,} labels that arrived in it, belong "
            "to other versions of the model. They are counted but not measured."
        )
    own = facts.manifest.own_reference
    reference = "" if own is None else f" The reference is {own.text}."
    return (
        f"Model version {facts.manifest.version}. Data drift, prediction drift, data quality and attributions use the "
        "predictions made in this window. Target drift, concept drift and performance use the labels that arrived in "
        f"it, whenever their predictions were made.{sample}{others}{reference}"
    )


def _next_steps(failed_checks: Sequence[FailedCheck], next_step: Callable[[FailedCheck], str]) -> BaseWidgetInfo:
    """Return a table of why it failed, where that is known, and what to do, for the first column of each check."""
    first = {check.check: check for check in reversed(failed_checks)}
    return long_table(
        title="Next steps",
        column_names=["What to do"],  # alone: Evidently sets all but the first column on the right
        data=[
            [
                f"{name.replace('_', ' ')}{f' of {check.column}' if check.column else ''}: "
                f"{f'{check.cause}. What to do: ' if check.cause else ''}{next_step(check)}"
            ]
            for name, check in reversed(first.items())
        ],
    )


def _muted_table(muted: Sequence[MutedCheck]) -> BaseWidgetInfo:
    return long_table(
        title="Muted checks, which do not count as failed",
        column_names=[*FAILED_COLUMNS, "Muted until", "Why"],
        data=[[*_failed_row(one.failed), one.mute.until, one.mute.reason] for one in muted],
    )


def _overrides_table(overrides: Sequence[ThresholdOverride]) -> BaseWidgetInfo:
    return long_table(
        title="Thresholds set by hand",
        column_names=["Statistic", "Column", "Threshold"],
        data=[[one.name.replace("_", " "), one.column or "", written(one.value)] for one in overrides],
    )


FAILED_COLUMNS = ("Check", "Column", "Measure", "Value", "Threshold")


def _failed_table(failed_checks: Sequence[FailedCheck]) -> BaseWidgetInfo:
    return long_table(
        title="Failed checks",
        column_names=list(FAILED_COLUMNS),
        data=[_failed_row(check) for check in failed_checks],
    )


def _failed_row(check: FailedCheck) -> list[str]:
    return [
        check.check.replace("_", " "),
        check.column or "",
        (check.measure or "").replace("_", " "),
        written(check.value),
        written(check.threshold),
    ]
