"""Concept drift of a regressor: whether its errors are as large, and as biased, as they were in training."""

import numpy as np
import pandas as pd
from evidently import Dataset
from evidently.core.metric_types import ByLabelCalculation, ByLabelMetric, ByLabelValue
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data
from evidently.tests import lt

from evidently_workspace.checks.concept_drift import ConceptComparison, ErrorRow, add_errors, errors_table, judged_row
from evidently_workspace.panels import signed, written
from evidently_workspace.regression.frames import (
    ABSOLUTE_DEVIATION,
    ERROR,
    ERROR_DEVIATION,
    EXPECTED_ABSOLUTE,
    EXPECTED_ERROR,
    numeric_rows,
    scored_dataset,
    scored_errors,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, require
from model.artifact.manifest import PREDICTION, RegressorManifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
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

PARTS = ("size", "bias")
GROUPS = 5
NOTE = (
    "How to read this: training recorded how far off the model is for predictions of each size, and in which "
    "direction. From that follow the errors to expect on exactly these rows, including hard ones. Much larger errors, "
    "or errors in one direction, mean that the relation between inputs and labels has changed since training. Gaps "
    "near zero beside drifted data mean that only the inputs have changed."
)


def drift_of(scored: pd.DataFrame) -> RegressionDrift:
    """Return the drift of rows from `scored_errors`, as one window."""
    names = (EXPECTED_ERROR, ERROR_DEVIATION, EXPECTED_ABSOLUTE, ABSOLUTE_DEVIATION)
    expected = ExpectedErrors(*(scored[name].to_numpy("float64") for name in names))
    return regression_drift(scored[ERROR].to_numpy("float64"), expected, single_window(len(scored)))


def concept_drift(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: RegressorManifest,
    min_labels: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare the errors on the labels that arrived with the errors that the calibration predicts.

    NotEnoughDataError below `min_labels` labels that are numbers. There are two parts, each with its z and its gap:
    the size of the errors (their absolute value), and their bias. A part fails where its z reaches the threshold for
    this number of labels and its gap reaches the floor; as the gap is z times the standard deviation of the mean, the
    larger of the two bounds is the threshold of z. Both parts share one threshold, calibrated for the larger z of the
    two.
    """
    rows, known = numeric_rows(labelled).rows, numeric_rows(reference).rows
    require("labels that are numbers", len(rows), min_labels)
    scored = scored_errors(rows, manifest)
    section = Section("Concept drift", NOTE)
    by_rows = _limits(scored, manifest, traffic)
    limits = {part: traffic.limit(f"concept_{part}_z", None, limit) for part, limit in by_rows.items()}
    metric = NumberConceptDrift(tests={f"{part}_z": [lt(limit)] for part, limit in limits.items()})
    known_dataset = scored_dataset(scored_errors(known, manifest)) if len(known) else None
    errors = add_errors(section, metric, scored_dataset(scored), known_dataset)
    for part, limit in limits.items():
        if (z := errors.window[f"{part}_z"]) >= limit:
            section.failed_checks.append(FailedCheck("concept_drift", None, z, limit, f"{part}_z"))
    section.say_what_is_learned(traffic, ((f"concept_{part}_z", None) for part in PARTS))
    unit = manifest.label_range.unit
    gap_floor = min(_gap_floor(part, manifest, traffic) for part in PARTS)
    smallest_gap = written(gap_floor) + (f" {unit}" if unit else "")
    section.widgets += [errors_table(_error_rows(limits, traffic), errors, smallest_gap), groups_table(scored)]
    return section


def _limits(scored: pd.DataFrame, manifest: RegressorManifest, traffic: WindowTraffic) -> dict[str, float]:
    """Return the z from which each part fails."""
    threshold, found, rows = manifest.concept_threshold, drift_of(scored), len(scored)
    deviations = dict(zip(PARTS, (found.absolute_deviation, found.bias_deviation), strict=True))
    return {
        part: float(smallest_alarming_z(threshold.at(rows), _gap_floor(part, manifest, traffic), rows, deviation)[0])
        for part, deviation in deviations.items()
    }


def _gap_floor(part: str, manifest: RegressorManifest, traffic: WindowTraffic) -> float:
    return traffic.limit(f"concept_{part}_gap", None, manifest.concept_threshold.gap_floor)


def _error_rows(limits: dict[str, float], traffic: WindowTraffic) -> list[ErrorRow]:
    return [
        ErrorRow("Size: mean absolute error", "observed_error", ".4g"),
        ErrorRow("Size: expected on these rows", "expected_error", ".4g"),
        ErrorRow("Size: gap (observed - expected)", "size_gap", "+.4g"),
        judged_row("Size: z (gap in standard deviations)", "size_z", "+.2f", limits["size"], traffic=traffic),
        ErrorRow("Bias: mean error (prediction - label)", "observed_bias", "+.4g"),
        ErrorRow("Bias: expected on these rows", "expected_bias", "+.4g"),
        ErrorRow("Bias: gap, in either direction", "bias_gap", ".4g"),
        judged_row("Bias: z (gap in standard deviations)", "bias_z", ".2f", limits["bias"], traffic=traffic),
    ]


def groups_table(scored: pd.DataFrame) -> BaseWidgetInfo:
    """Return observed and expected errors for groups of equally many rows, ordered by the predicted number.

    There are fewer groups where predictions repeat, because equal predictions share a group.
    """
    predicted = scored[PREDICTION].to_numpy("float64")
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    group_of_row = np.searchsorted(edges, predicted, side="right")
    data = []
    for _, group in scored.groupby(group_of_row):
        errors = group[ERROR]
        data.append(
            [
                f"{written(group[PREDICTION].min())} to {written(group[PREDICTION].max())}",
                f"{len(group):,}",
                written(errors.abs().mean()),
                written(group[EXPECTED_ABSOLUTE].mean()),
                signed(errors.mean()),
                signed(group[EXPECTED_ERROR].mean()),
            ]
        )
    header = ["Predicted", "Labels", "Mean absolute error", "Expected", "Mean error", "Expected mean error"]
    return table_data(title="By the number predicted", column_names=header, data=data)


class NumberConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Values by the names in LABELS; the data have the columns of `scored_errors`.

    Evidently stores the metric under the name of this class, and the dashboards of existing projects refer to it.
    """


class NumberConceptDriftCalculation(ConceptComparison[NumberConceptDrift], ByLabelCalculation[NumberConceptDrift]):  # type: ignore[misc]
    """Calculates NumberConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        found = drift_of(dataset.as_dataframe())
        return self.result({label: float(getattr(found, field)[0]) for label, field in LABELS.items()})
