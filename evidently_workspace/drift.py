"""Drift of features, predictions and labels: one distance per column against its calibrated threshold."""

from typing import NamedTuple

import pandas as pd
from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot
from evidently.metrics import DriftedColumnsCount, UniqueValueCount
from evidently.tests import lt

from evidently_workspace.column_drift import ColumnDrift
from evidently_workspace.distances import STATTESTS
from evidently_workspace.drift_table import DriftRow, drift_widgets
from evidently_workspace.frames import columns_dataset, with_few_new_values
from evidently_workspace.number_spread import NumberSpread
from evidently_workspace.results import Check, FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.manifest import LABEL, PREDICTION, ClassifierManifest, DriftThreshold, Manifest


class _Question(NamedTuple):
    """Which columns of two frames to compare, and what the answers are called."""

    check: Check
    columns: list[str]
    current: pd.DataFrame
    reference: pd.DataFrame
    min_values: int


def data_drift(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_rows: int) -> Section:
    """Compare each feature of the window with the reference; NotEnoughDataError below `min_rows` rows."""
    require("rows", len(current), min_rows)
    section = Section("Data drift", "Each feature of the window's predictions against the reference.")
    question = _Question("data_drift", list(manifest.feature_names), current, reference, min_rows)
    thresholds = _usable_thresholds(section, question, manifest)
    if thresholds:
        counted = DriftedColumnsCount(
            columns=list(thresholds),
            per_column_method={name: STATTESTS[threshold.method] for name, (threshold, _) in thresholds.items()},
            per_column_threshold={name: limit for name, (_, limit) in thresholds.items()},
        )
        snapshot = _compare(section, question, thresholds, manifest, [counted])
        drifted = snapshot.context.get_metric_result(counted.metric_id)
        section.keep(drifted)
        section.measure("drifted_columns", None, drifted.count.value)
        section.measure("drifted_share", None, drifted.share.value)
    return section


def prediction_drift(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_rows: int) -> Section:
    """Compare the predicted classes or numbers with those on the reference; NotEnoughDataError below `min_rows`."""
    require("rows", len(current), min_rows)
    kind = "classes" if isinstance(manifest, ClassifierManifest) else "numbers"
    section = Section("Prediction drift", f"The {kind} predicted in the window against those on the reference.")
    question = _Question("prediction_drift", [PREDICTION], current, reference, min_rows)
    _compare_answers(section, question, manifest)
    return section


def target_drift(labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_labels: int) -> Section:
    """Compare the labels that arrived with those of the reference; NotEnoughDataError below `min_labels`."""
    require("labels", len(labelled), min_labels)
    section = Section("Target drift", "The labels that arrived in the window against those of the reference.")
    question = _Question("target_drift", [LABEL], labelled, reference, min_labels)
    _compare_answers(section, question, manifest)
    return section


Thresholds = dict[str, tuple[DriftThreshold, float]]
"""By column: the calibrated threshold, and its value for this window."""


def _compare_answers(section: Section, question: _Question, manifest: Manifest) -> None:
    thresholds = _usable_thresholds(section, question, manifest)
    if not thresholds:
        return
    (column,) = question.columns
    if isinstance(manifest, ClassifierManifest):
        counts = UniqueValueCount(column=column)
        snapshot = _compare(section, question, thresholds, manifest, [counts])
        section.keep(finite(snapshot.context.get_metric_result(counts.metric_id)))
    else:
        spread = NumberSpread(column)
        spread.keep(section, _compare(section, question, thresholds, manifest, spread.metrics))


def _usable_thresholds(section: Section, question: _Question, manifest: Manifest) -> Thresholds:
    # The sample of a statistic is the values that are there, so the threshold is that of their number.
    calibrated = {threshold.column: threshold for threshold in manifest.thresholds}
    usable: Thresholds = {}
    for column in question.columns:
        values = int(question.current[column].notna().sum())
        if values < max(question.min_values, 1):
            section.not_computed.append(f"{column}: not enough data ({values} values, the rest is missing)")
        elif not question.reference[column].notna().any():
            section.not_computed.append(f"{column}: the reference has no values")
        elif column not in calibrated:
            section.not_computed.append(f"{column}: training calibrated no threshold for it")
        else:
            usable[column] = (calibrated[column], calibrated[column].at(values))
    return usable


def _compare(
    section: Section,
    question: _Question,
    thresholds: Thresholds,
    manifest: Manifest,
    also: list[Metric],
) -> Snapshot:
    """Measure the distance of each column, record the verdicts, return what has the results of `also`."""
    drifts = {
        column: ColumnDrift(column=column, method=STATTESTS[threshold.method], threshold=limit, tests=[lt(limit)])
        for column, (threshold, limit) in thresholds.items()
    }
    few = question.current
    if question.check == "data_drift":
        few = with_few_new_values(few, question.reference, manifest)
    current = columns_dataset(few, list(thresholds), manifest)
    reference = columns_dataset(question.reference, list(thresholds), manifest)
    snapshot = run_report([*also, *drifts.values()], current, reference)
    rows: list[DriftRow] = []
    for column, drift in drifts.items():
        result = snapshot.context.get_metric_result(drift.metric_id)
        if finite(result) is None:
            section.not_computed.append(f"{column}: the distance is not a number")
            continue
        threshold, limit = thresholds[column]
        failed = result.value >= limit
        if failed:
            section.failed_checks.append(FailedCheck(question.check, column, float(result.value), limit))
        is_feature = question.check == "data_drift"
        section.measure(question.check, column if is_feature else None, result.value)
        rows.append(DriftRow(column, threshold.method, float(result.value), limit, failed, drift.metric_id))
        section.keep(result, "ValueDrift")
    section.widgets += drift_widgets(rows, snapshot.context.get_metric) if rows else []
    return snapshot
