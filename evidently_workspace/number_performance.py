"""How far off a model of numbers was on the labels that arrived in the window, against held-out data."""

import pandas as pd
from evidently.core.metric_types import MeanStdValue, Metric, SingleValue
from evidently.core.report import Snapshot
from evidently.metrics import MAE, MAPE, RMSE, AbsMaxError, MeanError, R2Score
from evidently.tests import lte

from evidently_workspace.number_bound import highest_mean_absolute_error
from evidently_workspace.number_figures import figures_of, predicted_beside_actual
from evidently_workspace.number_frames import numbered, numbers_dataset
from evidently_workspace.number_scores import (
    MEAN_ABSOLUTE_ERROR,
    PERCENTAGE_ERROR,
    NumberScore,
    scores_table,
    test_scores,
)
from evidently_workspace.number_targets import has_percentages, least_label
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.manifest import LABEL, RegressorManifest


def number_performance(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: RegressorManifest, min_labels: int
) -> Section:
    """Score the labels that arrived in the window; NotEnoughDataError below `min_labels` labels that are numbers.

    Errors are prediction - label, in the unit of the target. The mean absolute error fails above
    `highest_mean_absolute_error`. R2 needs labels that differ; the percentage error, labels away from zero.
    """
    (rows, left_out), (known, _) = numbered(labelled), numbered(reference)
    require("labels that are numbers", len(rows), min_labels)
    section = Section(
        "Performance",
        "Predictions whose label arrived in the window, whenever they were made. The test set and the reference are "
        "two parts of the data that training held out. Errors are prediction - label, in the unit of the target.",
    )
    if left_out:
        section.not_computed.append(f"{left_out:,} of {len(labelled):,} labels or their predictions are no numbers")
    highest = highest_mean_absolute_error(len(rows), known, manifest)
    scores = _score_errors(section, rows, known, manifest, highest)
    scores += _score_percentages(section, rows, known, manifest)
    section.widgets.insert(0, scores_table(scores, manifest))
    return section


def _score_errors(
    section: Section, rows: pd.DataFrame, known: pd.DataFrame, manifest: RegressorManifest, highest: float
) -> list[NumberScore]:
    """Return the scores that every window has, the mean absolute error first, and keep their figures."""
    metrics: dict[str, Metric] = {
        MEAN_ABSOLUTE_ERROR: MAE(mean_tests=[lte(highest)], error_distr=True),
        "root_mean_squared_error": RMSE(error_distr=False),
        "mean_error": MeanError(error_plot=True),
        "largest_absolute_error": AbsMaxError(),
    }
    if rows[LABEL].nunique() > 1:
        metrics["r2"] = R2Score()
    else:
        section.not_computed.append("r2: not defined for labels that do not differ")
    # Evidently divides by the labels, for a figure that is not shown, and fails where nothing is left to divide by.
    # None of these scores depends on where zero is, so labels and predictions are moved away from it.
    moved_by = manifest.label_range.standard_deviation - float(rows[LABEL].min())
    snapshot = run_report(list(metrics.values()), numbers_dataset(rows, moved_by), numbers_dataset(known))
    section.widgets += [
        *predicted_beside_actual(snapshot.context, rows, known),
        *figures_of(snapshot.context.get_metric_result(metrics[MEAN_ABSOLUTE_ERROR].metric_id), "Errors"),
        *figures_of(snapshot.context.get_metric_result(metrics["mean_error"].metric_id), "Errors in the order of rows"),
    ]
    scores = [_keep(section, snapshot, name, metric, manifest) for name, metric in metrics.items()]
    error = scores[0].window
    if error > highest:
        failed = FailedCheck("performance", MEAN_ABSOLUTE_ERROR, error, highest, MEAN_ABSOLUTE_ERROR)
        section.failed_checks.append(failed)
    return [scores[0]._replace(highest=highest), *scores[1:]]


def _score_percentages(
    section: Section, rows: pd.DataFrame, known: pd.DataFrame, manifest: RegressorManifest
) -> list[NumberScore]:
    if not has_percentages(manifest):
        return []
    near_zero = int((rows[LABEL] < least_label(manifest)).sum())
    if near_zero:
        section.not_computed.append(f"{PERCENTAGE_ERROR}: {near_zero:,} labels of this window are near zero")
        return []
    metric = MAPE(perc_error_plot=False)
    snapshot = run_report([metric], numbers_dataset(rows), numbers_dataset(known))
    return [_keep(section, snapshot, PERCENTAGE_ERROR, metric, manifest)]


def _keep(section: Section, snapshot: Snapshot, name: str, metric: Metric, manifest: RegressorManifest) -> NumberScore:
    value = _single(snapshot.context.get_metric_result(metric.metric_id))
    held_out = _single(snapshot.context.get_reference_metric_result(metric.metric_id))
    if finite(value) is None:
        section.not_computed.append(f"{name}: not defined for the labels of this window")
    else:
        section.measure(name, None, value.value)
        section.keep(value)
    return NumberScore(name, float(value.value), test_scores(manifest).get(name), float(held_out.value), None)


def _single(result: SingleValue | MeanStdValue) -> SingleValue:
    """Return the value alone where Evidently adds a spread to it, which a single row does not have."""
    if not isinstance(result, MeanStdValue):
        return result
    single = result.mean
    single.tests = result.tests
    return single
