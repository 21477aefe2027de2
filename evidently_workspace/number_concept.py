"""Concept drift of a model of numbers: whether labels still follow from the inputs as they did in training."""

import pandas as pd
from evidently.core.metric_types import ByLabelValue
from evidently.tests import lt

from evidently_workspace.number_concept_metric import NumberConceptDrift, expected_of, spread_of_sum
from evidently_workspace.number_concept_tables import PARTS, Limits, errors_table, sizes_table
from evidently_workspace.number_frames import judged_dataset, judged_numbers, numbered
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, require, run_report
from model.manifest import RegressorManifest

NOTE = (
    "Read it so: training noted how far off the model is for predictions of each size, and to which side; those "
    "numbers say which errors to expect on exactly these rows, hard ones included. Much larger errors than that, or "
    "errors to one side, mean that labels follow from the inputs in another way than in training, while gaps near zero "
    "beside drifted data mean that only the inputs have moved."
)


def number_concept_drift(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: RegressorManifest, min_labels: int
) -> Section:
    """Compare the errors on the labels that arrived with those that the calibration lets expect.

    NotEnoughDataError below `min_labels` labels that are numbers. There are two parts, each with its z and its gap:
    the size of the errors, and their bias. A part fails where its z reaches the threshold for this number of labels
    and its gap reaches the floor; as the gap is z times the standard deviation of the mean, the larger of the two
    bounds is the threshold of z. Both parts share one threshold, calibrated for the larger z of the two.
    """
    rows, _ = numbered(labelled)
    require("labels that are numbers", len(rows), min_labels)
    known, _ = numbered(reference)
    judged = judged_numbers(rows, manifest)
    section = Section("Concept drift", NOTE)
    limits = _limits(judged, manifest)
    metric = NumberConceptDrift(tests={f"{part}_z": [lt(limit)] for part, limit in limits.of_part.items()})
    held_out = judged_dataset(judged_numbers(known, manifest)) if len(known) else None
    snapshot = run_report([metric], judged_dataset(judged), held_out)
    result: ByLabelValue = snapshot.context.get_metric_result(metric.metric_id)
    values = {str(name): float(value.value) for name, value in result.values.items()}
    for name, value in values.items():
        section.measure(name if name.startswith(("observed", "expected")) else f"concept_{name}", None, value)
    for part, limit in limits.of_part.items():
        if (z := values[f"{part}_z"]) >= limit:
            section.failed_checks.append(FailedCheck("concept_drift", None, z, limit, f"{part}_z"))
    of_reference: dict[str, float] = {}
    if held_out is not None:
        found: ByLabelValue = snapshot.context.get_reference_metric_result(metric.metric_id)
        of_reference = {str(name): float(value.value) for name, value in found.values.items()}
    section.keep(result)
    section.widgets += [errors_table(values, of_reference, limits), sizes_table(judged)]
    return section


def _limits(judged: pd.DataFrame, manifest: RegressorManifest) -> Limits:
    threshold, expected = manifest.concept_threshold, expected_of(judged)
    spreads = dict(zip(PARTS, (expected.size_spread, expected.spread), strict=True))
    least = threshold.at(len(judged))
    of_part = {
        part: max(least, threshold.gap_floor * len(judged) / spread_of_sum(spread)) for part, spread in spreads.items()
    }
    return Limits(of_part, threshold.gap_floor, manifest.label_range.unit)
