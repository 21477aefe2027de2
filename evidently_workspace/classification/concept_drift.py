"""Concept drift of a classifier: whether it errs as often as its own probabilities promise."""

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelMetric, ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data
from evidently.tests import lt

from evidently_workspace.frames import ERROR, EXPECTED_ERROR, scored_predictions
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import ConceptCalculation, Section, require, run_report
from model.artifact.manifest import ClassifierManifest
from model.statistics.concept import classification_drift, smallest_alarming_z
from model.statistics.windows import single_window


class ConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Observed and expected error, gap and z as labels, see `classification_drift`.

    `error` and `expected_error` name numerical columns.
    """

    error: str
    expected_error: str


class ConceptDriftCalculation(ConceptCalculation[ConceptDrift]):
    """Calculates ConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        error, expected = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.error, self.metric.expected_error)
        )
        found = classification_drift(error, expected, single_window(len(error)))
        labels = ("observed_error", "expected_error", "gap", "z")
        return self.result({label: float(getattr(found, label)[0]) for label in labels})


NOTE = (
    "Read it so: the model's own calibrated probabilities say how many errors to expect on exactly these rows, hard "
    "ones included; many more than that mean that labels follow from the inputs in another way than in training, "
    "while a gap near zero beside drifted data means that only the inputs have moved."
)


def concept_drift(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, min_labels: int
) -> Section:
    """Compare the errors on the labels that arrived with those that the calibrated probabilities let expect.

    NotEnoughDataError below `min_labels` labels whose prediction has probabilities. Fails when z reaches its
    threshold for this number of labels and the gap reaches its floor; see `smallest_alarming_z`.
    """
    judged, expected = (scored_predictions(frame, manifest) for frame in (labelled, reference))
    require("labels whose prediction has probabilities", len(judged), min_labels)
    section = Section("Concept drift", NOTE)
    threshold = manifest.concept_threshold
    labels = len(judged)
    wrong, chances = (judged[name].to_numpy() for name in (ERROR, EXPECTED_ERROR))
    deviation = classification_drift(wrong, chances, single_window(labels)).deviation
    limit = float(smallest_alarming_z(threshold.at(labels), threshold.gap_floor, labels, deviation)[0])
    metric = ConceptDrift(error=ERROR, expected_error=EXPECTED_ERROR, tests={"z": [lt(limit)]})
    snapshot = run_report([metric], _dataset(judged), _dataset(expected) if len(expected) else None)
    result: ByLabelValue = snapshot.context.get_metric_result(metric.metric_id)
    values = {str(name): float(value.value) for name, value in result.values.items()}
    for name, value in values.items():
        section.measure(name if name.endswith("error") else f"concept_{name}", None, value)
    if values["z"] >= limit:
        section.failed_checks.append(FailedCheck("concept_drift", None, values["z"], limit))
    held_out = {}
    if len(expected):
        of_reference: ByLabelValue = snapshot.context.get_reference_metric_result(metric.metric_id)
        held_out = {str(name): float(value.value) for name, value in of_reference.values.items()}
    section.keep(result)
    section.widgets.append(_table(values, held_out, limit, f"also needs a gap of {threshold.gap_floor:.0%}"))
    return section


def _dataset(judged: pd.DataFrame) -> Dataset:
    columns = [ERROR, EXPECTED_ERROR]
    return Dataset.from_pandas(judged[columns], data_definition=DataDefinition(numerical_columns=columns))


def _table(values: dict[str, float], held_out: dict[str, float], limit: float, condition: str) -> BaseWidgetInfo:
    rows = [
        ("Observed error", "observed_error", ".1%", ""),
        ("Error that the model's probabilities let expect", "expected_error", ".1%", ""),
        ("Gap (observed - expected)", "gap", "+.1%", ""),
        ("z (gap in standard deviations)", "z", "+.2f", f"from {limit:.2f} ({condition})"),
    ]
    verdict = "drifted" if values["z"] >= limit else "within the threshold"
    return table_data(
        title="Errors beside those expected",
        column_names=["", "Window", "Reference", "Fails", "Verdict"],
        data=[
            [
                title,
                format(values[name], form),
                format(held_out[name], form) if name in held_out else "",
                fails,
                verdict if fails else "",
            ]
            for title, name, form, fails in rows
        ],
    )
