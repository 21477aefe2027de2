"""Concept drift of a classifier: whether it errs as often as its own probabilities promise."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelMetric, ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data
from evidently.tests import lt
from numpy.typing import NDArray

from evidently_workspace.frames import ERROR, EXPECTED_ERROR, scored_predictions
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import ConceptCalculation, Section, require, run_report
from model.artifact.manifest import ClassifierManifest

Floats = NDArray[np.float64]


class ConceptGap(NamedTuple):
    """How far the errors are from the expected ones; shares of rows, except `z`, in standard deviations."""

    observed_error: float
    expected_error: float
    gap: float
    z: float


def measure_gap(error: Floats, expected_error: Floats) -> ConceptGap:
    """Compare errors (0 or 1, one per row) with the chance of each (above 0 and below 1).

    gap = mean(error - expected); z = sum(error - expected) / sqrt(sum(expected * (1 - expected))), which is
    about standard normal while errors are independent and happen with the expected chances (Spiegelhalter's
    test of calibration, Statistics in Medicine 5, 1986, with the error as the event).
    """
    excess = float(np.sum(error - expected_error))
    return ConceptGap(
        float(np.mean(error)), float(np.mean(expected_error)), excess / len(error), excess / spread(expected_error)
    )


def spread(expected_error: Floats) -> float:
    """Return the standard deviation of the number of errors when each happens with its expected chance."""
    return float(np.sqrt(np.sum(expected_error * (1 - expected_error))))


class ConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """The fields of ConceptGap as labels; `error` and `expected_error` name numerical columns."""

    error: str
    expected_error: str


class ConceptDriftCalculation(ConceptCalculation[ConceptDrift]):
    """Calculates ConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        error, expected = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.error, self.metric.expected_error)
        )
        return self.result(measure_gap(error, expected)._asdict())


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
    threshold for this number of labels and the gap reaches its floor; both say the same of z, as the gap is z
    times the standard deviation of the mean error, so the larger of the two bounds is the threshold of z.
    """
    judged, expected = (scored_predictions(frame, manifest) for frame in (labelled, reference))
    require("labels whose prediction has probabilities", len(judged), min_labels)
    section = Section("Concept drift", NOTE)
    threshold = manifest.concept_threshold
    smallest_gap_as_z = threshold.gap_floor * len(judged) / spread(judged[EXPECTED_ERROR].to_numpy())
    limit = max(threshold.at(len(judged)), smallest_gap_as_z)
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
