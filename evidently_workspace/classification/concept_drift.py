"""Concept drift of a classifier: whether it errs as often as its own probabilities predict."""

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelCalculation, ByLabelMetric, ByLabelValue
from evidently.tests import lt

from evidently_workspace.checks.concept_drift import ConceptComparison, ErrorRow, add_errors, errors_table, judged_row
from evidently_workspace.frames import ERROR, EXPECTED_ERROR, chances_and_labels, scored_predictions
from evidently_workspace.results import NO_PROBABILITIES, FailedCheck
from evidently_workspace.section import NotEnoughDataError, Section, require
from model.artifact.manifest import ClassifierManifest, ConceptThreshold
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.statistics.concept import (
    ClassificationDrift,
    classification_drift,
    flipped_share,
    random_label_share,
    smallest_alarming_z,
)
from model.statistics.windows import single_window

NOTE = (
    "How to read this: the model's calibrated probabilities say how many errors to expect on exactly these rows, "
    "including hard ones. Many more errors mean that the relation between inputs and labels has changed since "
    "training. A gap near zero beside drifted data means that only the inputs have changed."
)


def concept_drift(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: ClassifierManifest,
    min_labels: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Compare the errors on the labels that arrived with the errors that the calibrated probabilities predict.

    NotEnoughDataError below `min_labels` labels whose prediction has probabilities, and for a model without any. Fails
    when z reaches its threshold for this number of labels and the gap reaches its floor; both are conditions on z, as
    the gap is z times the standard deviation of the mean error, so the larger of the two bounds is the threshold of z.
    """
    if manifest.concept_threshold is None:
        raise NotEnoughDataError(NO_PROBABILITIES)
    scored, known = (scored_predictions(frame, manifest) for frame in (labelled, reference))
    require("labels whose prediction has probabilities", len(scored), min_labels)
    section = Section("Concept drift", NOTE)
    gap_floor = traffic.limit("concept_gap", None, manifest.concept_threshold.gap_floor)
    limit = traffic.limit("concept_z", None, _limit(scored, manifest.concept_threshold, gap_floor))
    metric = ConceptDrift(error=ERROR, expected_error=EXPECTED_ERROR, tests={"z": [lt(limit)]})
    errors = add_errors(section, metric, _dataset(scored), _dataset(known) if len(known) else None)
    error, expected = (scored[name].to_numpy("float64") for name in (ERROR, EXPECTED_ERROR))
    flipped = flipped_share(error, expected, single_window(len(scored)), len(manifest.classes))
    section.add_value("flipped_share", None, flipped[0])
    chances, codes = chances_and_labels(labelled, manifest)
    section.add_value("random_label_share", None, random_label_share(chances, codes, single_window(len(codes)))[0])
    if (z := errors.window["z"]) >= limit:
        section.failed_checks.append(FailedCheck("concept_drift", None, z, limit))
    rows = [
        ErrorRow("Observed error", "observed_error", ".1%"),
        ErrorRow("Expected error, by the model's probabilities", "expected_error", ".1%"),
        ErrorRow("Gap (observed - expected)", "gap", "+.1%"),
        judged_row("z (gap in standard deviations)", "z", "+.2f", limit, traffic=traffic),
    ]
    section.say_what_is_learned(traffic, [("concept_z", None)])
    section.widgets.append(errors_table(rows, errors, f"{gap_floor:.0%}"))
    return section


def _drift_of(scored: pd.DataFrame) -> ClassificationDrift:
    """Return the drift of rows from `scored_predictions`, as one window."""
    error, expected = (scored[name].to_numpy("float64") for name in (ERROR, EXPECTED_ERROR))
    return classification_drift(error, expected, single_window(len(scored)))


def _limit(scored: pd.DataFrame, threshold: ConceptThreshold, gap_floor: float) -> float:
    rows = len(scored)
    deviation = _drift_of(scored).deviation
    return float(smallest_alarming_z(threshold.at(rows), gap_floor, rows, deviation)[0])


def _dataset(scored: pd.DataFrame) -> Dataset:
    columns = [ERROR, EXPECTED_ERROR]
    return Dataset.from_pandas(scored[columns], data_definition=DataDefinition(numerical_columns=columns))


class ConceptDrift(ByLabelMetric):  # type: ignore[misc]  # Evidently ships no types
    """Observed and expected error, gap and z as labels, see `classification_drift`.

    `error` and `expected_error` name numerical columns.
    """

    error: str
    expected_error: str


class ConceptDriftCalculation(ConceptComparison[ConceptDrift], ByLabelCalculation[ConceptDrift]):  # type: ignore[misc]
    """Calculates ConceptDrift on the window, and on the reference beside it."""

    def _measure(self, dataset: Dataset) -> ByLabelValue:
        error, expected = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.error, self.metric.expected_error)
        )
        found = classification_drift(error, expected, single_window(len(error)))
        labels = ("observed_error", "expected_error", "gap", "z")
        return self.result({label: float(getattr(found, label)[0]) for label in labels})
