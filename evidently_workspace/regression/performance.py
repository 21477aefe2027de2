"""Performance of a regressor on the labels that arrived in the window, compared with held-out data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from evidently.core.metric_types import Metric
from evidently.core.report import Context
from evidently.legacy.base_metric import InputData
from evidently.legacy.metrics import RegressionPredictedVsActualScatter
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.utils.data_preprocessing import create_data_definition
from evidently.metrics import MAE, MAPE, RMSE, AbsMaxError, MeanError, R2Score
from evidently.tests import lte

from evidently_workspace.panels import written
from evidently_workspace.regression.frames import (
    ACTUAL_NUMBER,
    PREDICTED_NUMBER,
    numeric_rows,
    regression_dataset,
    with_titles,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.scores import Score, add_scores, scores_table
from evidently_workspace.section import Section, figures_of, plain_figures, require, result_of, run_report
from model.artifact.manifest import LABEL, PREDICTION, RegressorManifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.statistics.bounds import highest_mean_absolute_error

MEAN_ABSOLUTE_ERROR = "mean_absolute_error"
PERCENTAGE_ERROR = "mean_absolute_percentage_error"
SCORE_TITLES = {
    MEAN_ABSOLUTE_ERROR: "Mean absolute error",
    "root_mean_squared_error": "Root mean squared error",
    "mean_error": "Mean error (bias)",
    "largest_absolute_error": "Largest absolute error",
    "r2": "R2 (share of the variance explained)",
    PERCENTAGE_ERROR: "Mean absolute percentage error",
}
WITHOUT_UNIT = ("r2", PERCENTAGE_ERROR)
MAX_DRAWN = 2_000
"""Rows that the density of predicted beside actual numbers is drawn from; the time to draw grows with them."""


def performance(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: RegressorManifest,
    min_labels: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Score the labels that arrived in the window; NotEnoughDataError below `min_labels` labels that are numbers.

    Errors are prediction - label, in the unit of the target. The mean absolute error fails above
    `highest_mean_absolute_error`. R2 needs labels that differ; the percentage error, labels away from zero.
    """
    (rows, left_out), (known, _) = numeric_rows(labelled), numeric_rows(reference)
    require("labels that are numbers", len(rows), min_labels)
    section = Section(
        "Performance",
        "Predictions whose label arrived in the window, whenever they were made. The test set and the reference are "
        "two parts of the data that training held out. Errors are prediction - label, in the unit of the target.",
    )
    if left_out:
        section.not_computed.append(f"{left_out:,} of {len(labelled):,} labels or their predictions are no numbers")
    errors = (known[PREDICTION] - known[LABEL]).to_numpy("float64")
    highest = traffic.limit(MEAN_ABSOLUTE_ERROR, None, highest_mean_absolute_error(len(rows), errors, manifest))
    error, *others = _score_errors(section, rows, known, manifest, highest)
    section.say_what_is_learned(traffic, [(MEAN_ABSOLUTE_ERROR, None)])
    scores = [error.judged(highest, traffic, ".4g"), *others]
    scores += _score_percentages(section, rows, known, manifest)
    section.widgets.insert(0, scores_table(scores, lambda name: _title(name, manifest), _shown, "above"))
    return section


def _score_errors(
    section: Section, rows: pd.DataFrame, known: pd.DataFrame, manifest: RegressorManifest, highest: float
) -> list[Score]:
    """Return the scores that every window has, the mean absolute error first, and add their figures."""
    metrics = _error_metrics(section, rows, highest)
    # Evidently divides by the labels, for a figure that is not shown, and fails where nothing is left to divide by.
    # None of these scores depends on where zero is, so labels and predictions are moved away from it.
    moved_by = manifest.label_range.standard_deviation - float(rows[LABEL].min())
    snapshot = run_report(list(metrics.values()), regression_dataset(rows, moved_by), regression_dataset(known))
    errors, in_order = (result_of(snapshot, metrics[name]).widget for name in (MEAN_ABSOLUTE_ERROR, "mean_error"))
    section.widgets += [
        *predicted_beside_actual(snapshot.context, rows, known),
        *_rounded_figures(errors, "Errors"),
        *_rounded_figures(in_order, "Errors in the order of rows"),
    ]
    scores = add_scores(section, snapshot, metrics, test_scores(manifest))
    error = scores[0].window
    if error > highest:
        failed = FailedCheck("performance", MEAN_ABSOLUTE_ERROR, error, highest, MEAN_ABSOLUTE_ERROR)
        section.failed_checks.append(failed)
    return scores


def _error_metrics(section: Section, rows: pd.DataFrame, highest: float) -> dict[str, Metric]:
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
    return metrics


def test_scores(manifest: RegressorManifest) -> dict[str, float | None]:
    """Return the scores on the test set by name."""
    return {name: getattr(manifest.quality, name) for name in SCORE_TITLES if hasattr(manifest.quality, name)}


def _score_percentages(
    section: Section, rows: pd.DataFrame, known: pd.DataFrame, manifest: RegressorManifest
) -> list[Score]:
    if not manifest.has_percentage_errors:
        return []
    near_zero = int((rows[LABEL] < manifest.smallest_percentage_label).sum())
    if near_zero:
        section.not_computed.append(f"{PERCENTAGE_ERROR}: {near_zero:,} labels of this window are near zero")
        return []
    metrics = {PERCENTAGE_ERROR: MAPE(perc_error_plot=False)}
    snapshot = run_report(list(metrics.values()), regression_dataset(rows), regression_dataset(known))
    return add_scores(section, snapshot, metrics, test_scores(manifest))


def _title(name: str, manifest: RegressorManifest) -> str:
    unit = f", {manifest.label_range.unit}" if manifest.label_range.unit else ""
    return SCORE_TITLES[name] + ("" if name in WITHOUT_UNIT else unit)


def _shown(name: str, value: float) -> str:
    return f"{written(value)} %" if name == PERCENTAGE_ERROR else written(value)


def predicted_beside_actual(context: Context, rows: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return the figure of predicted beside actual numbers, in the window and on the reference."""
    current, known = (with_titles(_few(frame)) for frame in (rows, reference))
    mapping = ColumnMapping(target=ACTUAL_NUMBER, prediction=PREDICTED_NUMBER, task="regression")

    def data(*_: object) -> InputData:
        return InputData(known, current, mapping, create_data_definition(known, current, mapping), {})

    with plain_figures():
        _, widgets = context.get_legacy_metric(RegressionPredictedVsActualScatter(), data, None)
    return _rounded_figures(widgets, "Predicted beside actual numbers")


def _few(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if len(frame) <= MAX_DRAWN else frame.sample(MAX_DRAWN, random_state=0)


def _rounded_figures(widgets: Sequence[BaseWidgetInfo] | None, title: str) -> list[BaseWidgetInfo]:
    figures = figures_of(widgets, title)
    for figure in figures:
        figure.params = _rounded(figure.params)
    return figures


def _rounded(part: Any) -> Any:
    """Return a part of a figure with its numbers to a pixel's accuracy, which takes half of the room."""
    if isinstance(part, dict):
        return {name: _rounded(value) for name, value in part.items()}
    if isinstance(part, np.ndarray):
        part = part.tolist()
    if isinstance(part, list | tuple):
        return [_rounded(value) for value in part]
    return float(f"{part:.5g}") if isinstance(part, float) else part
