"""The top of a report: which model, how many rows and labels, and which checks failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, counter

from evidently_workspace.client import ORIGIN
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, long_table
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest

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
        _record_by_version(section, facts, failed_checks, sections)
        counters.append(CounterData("Failed checks", str(len(failed_checks))))
    for version, rows in facts.version_rows.items():
        section.record("version_rows", rows, "VersionRows", label=version)
    section.widgets.append(counter(counters=counters))
    if failed_checks:
        section.widgets.append(_failed_table(failed_checks))
    return section


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
    return (
        f"Model version {facts.manifest.version}. Data drift, prediction drift, data quality and attributions use the "
        "predictions made in this window. Target drift, concept drift and performance use the labels that arrived in "
        f"it, whenever their predictions were made.{sample}{others}"
    )


def _failed_table(failed_checks: Sequence[FailedCheck]) -> BaseWidgetInfo:
    return long_table(
        title="Failed checks",
        column_names=["Check", "Column", "Measure", "Value", "Threshold"],
        data=[
            [
                check.check.replace("_", " "),
                check.column or "",
                (check.measure or "").replace("_", " "),
                f"{check.value:.4g}",
                f"{check.threshold:.4g}",
            ]
            for check in failed_checks
        ],
    )
