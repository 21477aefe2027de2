"""Concept drift of a window: whether labels still follow from the inputs as they did in training."""

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data
from evidently.tests import lt

from evidently_workspace.concept_metric import ConceptDrift, spread
from evidently_workspace.frames import ERROR, EXPECTED_ERROR, judged_predictions
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, require, run_report
from model.manifest import ClassifierManifest

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
    judged, expected = (judged_predictions(frame, manifest) for frame in (labelled, reference))
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
