"""Performance of a regressor on the labels that arrived in the window, against held-out data."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from evidently.core.metric_types import MeanStdValue, Metric, MetricResult, SingleValue
from evidently.core.report import Context, Snapshot
from evidently.legacy.base_metric import InputData
from evidently.legacy.metrics import RegressionPredictedVsActualScatter
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.renderers.html_widgets import table_data
from evidently.legacy.utils.data_preprocessing import create_data_definition
from evidently.metrics import MAE, MAPE, RMSE, AbsMaxError, MeanError, R2Score
from evidently.tests import lte

from evidently_workspace.regression.frames import (
    ACTUAL_NUMBER,
    PREDICTED_NUMBER,
    numbered,
    regression_dataset,
    with_titles,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, plain_figures, require, run_report
from model.artifact.manifest import LABEL, PREDICTION, RegressorManifest
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


class RegressionScore(NamedTuple):
    """One score in the window, on the test set (if known) and on the reference; `highest`: fails above."""

    name: str
    window: float
    test: float | None
    reference: float
    highest: float | None


def test_scores(manifest: RegressorManifest) -> dict[str, float | None]:
    """Return the scores on the test set by name."""
    return {name: getattr(manifest.quality, name) for name in SCORE_TITLES if hasattr(manifest.quality, name)}


def scores_table(scores: list[RegressionScore], manifest: RegressorManifest) -> BaseWidgetInfo:
    """Return the table of scores; NaN shows as "not defined"."""
    unit = f", {manifest.label_range.unit}" if manifest.label_range.unit else ""
    return table_data(
        title="Scores",
        column_names=["Score", "Window", "Test set", "Reference", "Fails"],
        data=[
            [
                SCORE_TITLES[score.name] + ("" if score.name in WITHOUT_UNIT else unit),
                _shown(score.name, score.window),
                "" if score.test is None else _shown(score.name, score.test),
                _shown(score.name, score.reference),
                "" if score.highest is None else f"above {_shown(score.name, score.highest)}",
            ]
            for score in scores
        ],
    )


def _shown(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.4g} %" if name == PERCENTAGE_ERROR else f"{value:.4g}"


MAX_DRAWN = 2_000
"""Rows that the density of predicted beside actual numbers is drawn from; it takes as long as there are rows."""


def figures_of(result: MetricResult, title: str) -> list[BaseWidgetInfo]:
    """Return the figures among the widgets of a result."""
    return _titled(result.widget or [], title)


def predicted_beside_actual(context: Context, rows: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return the figure of predicted beside actual numbers, in the window and on the reference."""
    current, known = (with_titles(_few(frame)) for frame in (rows, reference))
    mapping = ColumnMapping(target=ACTUAL_NUMBER, prediction=PREDICTED_NUMBER, task="regression")

    def data(*_: object) -> InputData:
        return InputData(known, current, mapping, create_data_definition(known, current, mapping), {})

    with plain_figures():
        _, widgets = context.get_legacy_metric(RegressionPredictedVsActualScatter(), data, None)
    return _titled(widgets, "Predicted beside actual numbers")


def _few(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if len(frame) <= MAX_DRAWN else frame.sample(MAX_DRAWN, random_state=0)


def _titled(widgets: list[BaseWidgetInfo], title: str) -> list[BaseWidgetInfo]:
    figures = [widget for widget in widgets if widget.type == WidgetType.BIG_GRAPH.value]
    for figure in figures:
        figure.title = title
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


def regression_performance(
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
    errors = (known[PREDICTION] - known[LABEL]).to_numpy("float64")
    highest = highest_mean_absolute_error(len(rows), errors, manifest)
    scores = _score_errors(section, rows, known, manifest, highest)
    scores += _score_percentages(section, rows, known, manifest)
    section.widgets.insert(0, scores_table(scores, manifest))
    return section


def _score_errors(
    section: Section, rows: pd.DataFrame, known: pd.DataFrame, manifest: RegressorManifest, highest: float
) -> list[RegressionScore]:
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
    snapshot = run_report(list(metrics.values()), regression_dataset(rows, moved_by), regression_dataset(known))
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
) -> list[RegressionScore]:
    if not manifest.has_percentage_errors:
        return []
    near_zero = int((rows[LABEL] < manifest.smallest_percentage_label).sum())
    if near_zero:
        section.not_computed.append(f"{PERCENTAGE_ERROR}: {near_zero:,} labels of this window are near zero")
        return []
    metric = MAPE(perc_error_plot=False)
    snapshot = run_report([metric], regression_dataset(rows), regression_dataset(known))
    return [_keep(section, snapshot, PERCENTAGE_ERROR, metric, manifest)]


def _keep(
    section: Section, snapshot: Snapshot, name: str, metric: Metric, manifest: RegressorManifest
) -> RegressionScore:
    value = _single(snapshot.context.get_metric_result(metric.metric_id))
    held_out = _single(snapshot.context.get_reference_metric_result(metric.metric_id))
    if finite(value) is None:
        section.not_computed.append(f"{name}: not defined for the labels of this window")
    else:
        section.measure(name, None, value.value)
        section.keep(value)
    return RegressionScore(name, float(value.value), test_scores(manifest).get(name), float(held_out.value), None)


def _single(result: SingleValue | MeanStdValue) -> SingleValue:
    """Return the value alone where Evidently adds a spread to it, which a single row does not have."""
    if not isinstance(result, MeanStdValue):
        return result
    single = result.mean
    single.tests = result.tests
    return single
