"""Concept drift of a regressor: whether it errs as far, and to the same side, as it used to."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from evidently import Dataset
from evidently.core.metric_types import ByLabelMetric, ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data
from evidently.tests import lt

from evidently_workspace.regression.frames import (
    ERROR,
    EXPECTED_MEAN,
    EXPECTED_SIZE,
    EXPECTED_SPREAD,
    SIZE_SPREAD,
    numbered,
    scored_dataset,
    scored_numbers,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import ConceptCalculation, Section, require, run_report
from model.artifact.manifest import PREDICTION, RegressorManifest
from model.statistics.calibration import ExpectedErrors
from model.statistics.concept import RegressionDrift, regression_drift, smallest_alarming_z
from model.statistics.windows import single_window

LABELS = {
    "observed_error": "observed_error",
    "expected_error": "expected_error",
    "observed_bias": "observed_bias",
    "expected_bias": "expected_bias",
    "size_gap": "absolute_gap",
    "size_z": "absolute_z",
    "bias_gap": "bias_gap",
    "bias_z": "bias_z",
    "gap": "gap",
    "z": "z",
}
"""The labels of the metric, as they are stored, and the fields of `RegressionDrift`."""


def drift_of(scored: pd.DataFrame) -> RegressionDrift:
    """Return the drift of rows from `scored_numbers`, as one window."""
    names = (EXPECTED_MEAN, EXPECTED_SPREAD, EXPECTED_SIZE, SIZE_SPREAD)
    expected = ExpectedErrors(*(scored[name].to_numpy("float64") for name in names))
    return regression_drift(scored[ERROR].to_numpy("float64"), expected, single_window(len(scored)))


class NumberConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Values by the names in LABELS; the data have the columns of `scored_numbers`."""


class NumberConceptDriftCalculation(ConceptCalculation[NumberConceptDrift]):
    """Calculates NumberConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        found = drift_of(dataset.as_dataframe())
        return self.result({label: float(getattr(found, field)[0]) for label, field in LABELS.items()})


PARTS = ("size", "bias")
GROUPS = 5


class Limits(NamedTuple):
    """The z from which each part fails, the gap that it needs too, and the unit of that."""

    of_part: dict[str, float]
    gap_floor: float
    unit: str | None


def errors_table(values: dict[str, float], held_out: dict[str, float], limits: Limits) -> BaseWidgetInfo:
    """Return the table of both parts, in the window and on the reference."""
    floor = f"{limits.gap_floor:.4g}" + (f" {limits.unit}" if limits.unit else "")
    rows = [
        ("Size: mean absolute error", "observed_error", ".4g"),
        ("Size: what was to be expected on these rows", "expected_error", ".4g"),
        ("Size: gap (observed - expected)", "size_gap", "+.4g"),
        ("Size: z (gap in standard deviations)", "size_z", "+.2f"),
        ("Bias: mean error (prediction - label)", "observed_bias", "+.4g"),
        ("Bias: what was to be expected on these rows", "expected_bias", "+.4g"),
        ("Bias: gap, to either side", "bias_gap", ".4g"),
        ("Bias: z (gap in standard deviations)", "bias_z", ".2f"),
    ]
    data = []
    for title, name, form in rows:
        part, _, kind = name.partition("_")
        limit = limits.of_part[part] if kind == "z" else None
        verdict = "" if limit is None else "drifted" if values[name] >= limit else "within the threshold"
        fails = "" if limit is None else f"from {limit:.2f} (also needs a gap of {floor})"
        data.append([title, format(values[name], form), _held_out(held_out, name, form), fails, verdict])
    header = ["", "Window", "Reference", "Fails", "Verdict"]
    return table_data(title="Errors beside those expected", column_names=header, data=data)


def _held_out(held_out: dict[str, float], name: str, form: str) -> str:
    return format(held_out[name], form) if name in held_out else ""


def sizes_table(judged: pd.DataFrame) -> BaseWidgetInfo:
    """Return errors beside the expected ones for groups of equally many rows by the number predicted.

    There are fewer groups where predictions repeat, because equal ones share a group.
    """
    predicted = judged[PREDICTION].to_numpy("float64")
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    group_of_row = np.searchsorted(edges, predicted, side="right")
    data = []
    for _, group in judged.groupby(group_of_row):
        errors = group[ERROR]
        data.append(
            [
                f"{group[PREDICTION].min():.4g} to {group[PREDICTION].max():.4g}",
                f"{len(group):,}",
                f"{errors.abs().mean():.4g}",
                f"{group[EXPECTED_SIZE].mean():.4g}",
                f"{errors.mean():+.4g}",
                f"{group[EXPECTED_MEAN].mean():+.4g}",
            ]
        )
    header = ["Predicted", "Labels", "Mean absolute error", "Expected", "Mean error", "Expected mean error"]
    return table_data(title="By the number predicted", column_names=header, data=data)


NOTE = (
    "Read it so: training noted how far off the model is for predictions of each size, and to which side; those "
    "numbers say which errors to expect on exactly these rows, hard ones included. Much larger errors than that, or "
    "errors to one side, mean that labels follow from the inputs in another way than in training, while gaps near zero "
    "beside drifted data mean that only the inputs have moved."
)


def regression_concept_drift(
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
    judged = scored_numbers(rows, manifest)
    section = Section("Concept drift", NOTE)
    limits = _limits(judged, manifest)
    metric = NumberConceptDrift(tests={f"{part}_z": [lt(limit)] for part, limit in limits.of_part.items()})
    held_out = scored_dataset(scored_numbers(known, manifest)) if len(known) else None
    snapshot = run_report([metric], scored_dataset(judged), held_out)
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
    threshold, found = manifest.concept_threshold, drift_of(judged)
    least = threshold.at(len(judged))
    deviations = dict(zip(PARTS, (found.absolute_deviation, found.bias_deviation), strict=True))
    of_part = {
        part: float(smallest_alarming_z(least, threshold.gap_floor, len(judged), deviation)[0])
        for part, deviation in deviations.items()
    }
    return Limits(of_part, threshold.gap_floor, manifest.label_range.unit)
