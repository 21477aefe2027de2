"""Performance of a classifier on the labels that arrived in the window, against held-out data."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelValue, Metric, SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Snapshot
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.renderers.html_widgets import table_data
from evidently.metrics import (
    Accuracy,
    F1ByLabel,
    F1Score,
    LogLoss,
    Precision,
    PrecisionByLabel,
    Recall,
    RecallByLabel,
    RocAuc,
)
from evidently.tests import gte
from numpy.typing import NDArray

from evidently_workspace.frames import (
    CORRECT,
    PROBABILITY,
    as_if_certain,
    classes_dataset,
    probabilities_dataset,
    scored_predictions,
    with_probabilities,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest
from model.statistics.bounds import lowest_accuracy

Floats = NDArray[np.float64]
BINS = 10


def calibration_error(probability: Floats, correct: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error of the predicted classes, between 0 and 1.

    `probability` is that of the predicted class, `correct` 1 where it was right, else 0; one per row. Rows are
    cut by probability into `bins` bins of equal size, fewer where probabilities repeat, because equal ones share
    a bin; the error is the mean over the rows of |share correct - mean probability| of their bin. It is never
    negative, so chance alone makes it larger the fewer the rows. Source: Naeini, Cooper and Hauskrecht, AAAI
    2015; bins of equal size: Nixon et al., CVPR workshops 2019.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of_row = np.searchsorted(edges, probability, side="right")
    excess = np.bincount(bin_of_row, weights=correct - probability)
    return float(np.abs(excess).sum() / len(probability))


class CalibrationError(SingleValueMetric):  # type: ignore[misc]  # Evidently ships no types
    """The expected calibration error; `probability` and `correct` name numerical columns."""

    probability: str
    correct: str


class CalibrationErrorCalculation(SingleValueCalculation[CalibrationError]):  # type: ignore[misc]
    """Calculates CalibrationError on the window, and on the reference beside it."""

    def calculate(
        self, context: Any, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, SingleValue | None]:
        """Return the results of the window and of the reference."""
        del context
        return self._measure(current_data), None if reference_data is None else self._measure(reference_data)

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Calibration error"

    def _measure(self, dataset: Dataset) -> SingleValue:
        probability, correct = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.probability, self.metric.correct)
        )
        return self.result(calibration_error(probability, correct))


SCORE_TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}
OF_CLASSES = ("precision", "recall", "f1")
"""The scores that exist for each class too."""


class Score(NamedTuple):
    """One score in the window, on the test set (if known) and on the reference; `lowest`: fails below."""

    name: str
    window: float
    test: float | None
    reference: float
    lowest: float | None


class ClassScores(NamedTuple):
    """One score by class name, in the window (where it is defined) and on the test set."""

    window: dict[str, float]
    test: dict[str, float]


def test_scores(manifest: ClassifierManifest) -> dict[str, float | None]:
    """Return the scores on the test set by name, of the same classes as those of a window."""
    quality = manifest.quality
    scores: dict[str, float | None] = {name: getattr(quality, name) for name in SCORE_TITLES if hasattr(quality, name)}
    if len(manifest.classes) == 2:
        positive = quality.per_class[manifest.class_names[-1]]
        scores |= {name: getattr(positive, name) for name in OF_CLASSES}
    return scores


def class_test_scores(manifest: ClassifierManifest, name: str) -> dict[str, float]:
    """Return precision, recall or f1 of each class on the test set."""
    return {label: getattr(scores, name) for label, scores in manifest.quality.per_class.items()}


def scores_table(scores: list[Score], manifest: ClassifierManifest) -> BaseWidgetInfo:
    """Return the table of scores; NaN shows as "not defined"."""
    classes = manifest.class_names
    scope = f"of class {classes[-1]}" if len(classes) == 2 else "mean over the classes"
    return table_data(
        title="Scores",
        column_names=["Score", "Window", "Test set", "Reference", "Fails"],
        data=[
            [
                SCORE_TITLES[score.name] + (f" ({scope})" if score.name in OF_CLASSES else ""),
                _number(score.window),
                "" if score.test is None else _number(score.test),
                _number(score.reference),
                "" if score.lowest is None else f"below {_number(score.lowest)}",
            ]
            for score in scores
        ],
    )


def classes_table(columns: dict[str, ClassScores], labelled: pd.DataFrame) -> BaseWidgetInfo:
    """Return the table of scores per class, with the number of labels of each."""
    names = sorted({name for scores in columns.values() for name in (*scores.window, *scores.test)})
    labels = labelled[LABEL].value_counts()
    header = ["Class", "Labels"]
    for score in columns:
        header += [SCORE_TITLES[score], f"{SCORE_TITLES[score]}, test set"]
    rows = []
    for name in names:
        row = [name, f"{labels.get(name, 0):,}"]
        for scores in columns.values():
            row += [_number(scores.window.get(name, math.nan)), _number(scores.test.get(name, math.nan))]
        rows.append(row)
    return table_data(title="Scores of each class", column_names=header, data=rows)


def confusion_matrices(widgets: list[BaseWidgetInfo]) -> list[BaseWidgetInfo]:
    """Return the figures among the widgets of Evidently's F1, which are the confusion matrices."""
    figures = [widget for widget in widgets if widget.type == WidgetType.BIG_GRAPH.value]
    for figure in figures:
        figure.title = "Confusion matrix"
    return figures


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"


def performance(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, min_labels: int
) -> Section:
    """Score the labels that arrived in the window; NotEnoughDataError below `min_labels`.

    For two classes, precision, recall and F1 are those of the last class (Evidently's positive class);
    for more they are unweighted means over the classes that occur. ROC AUC, log loss and calibration error look
    at the predictions whose probabilities are known, if those are at least `min_labels`. Accuracy fails below
    `lowest_accuracy`.
    """
    require("labels", len(labelled), min_labels)
    section = Section(
        "Performance",
        "Predictions whose label arrived in the window, whenever they were made. The test set and the reference are "
        "two parts of the data that training held out.",
    )
    right = (reference[LABEL] == reference[PREDICTION]).to_numpy()
    lowest = lowest_accuracy(len(labelled), right, manifest)
    scores, matrices = _score_classes_overall(section, labelled, reference, manifest, lowest)
    scores += _score_probabilities(section, labelled, reference, manifest, min_labels)
    section.widgets += [scores_table(scores, manifest), *matrices]
    _score_each_class(section, labelled, reference, manifest)
    return section


def _score_classes_overall(
    section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, lowest: float
) -> tuple[list[Score], list[BaseWidgetInfo]]:
    """Return the scores that need no probabilities, accuracy first, and the confusion matrices."""
    metrics = {
        "accuracy": Accuracy(tests=[gte(lowest)]),
        "precision": Precision(conf_matrix=False),
        "recall": Recall(conf_matrix=False),
        "f1": F1Score(conf_matrix=True),
    }
    data = [probabilities_dataset(as_if_certain(frame, manifest), manifest) for frame in (labelled, reference)]
    snapshot = run_report(list(metrics.values()), *data)
    matrices = confusion_matrices(snapshot.context.get_metric_result(metrics["f1"].metric_id).widget)
    scores = _keep_scores(section, snapshot, metrics, manifest)
    accuracy = scores[0].window
    if accuracy < lowest:
        section.failed_checks.append(FailedCheck("performance", "accuracy", accuracy, lowest, "accuracy"))
    return [scores[0]._replace(lowest=lowest), *scores[1:]], matrices


def _score_probabilities(
    section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, min_labels: int
) -> list[Score]:
    known, expected = with_probabilities(labelled, manifest), with_probabilities(reference, manifest)
    if len(known) < max(min_labels, 1):
        shortage = f"not enough data ({len(known)} of at least {max(min_labels, 1)} labels have probabilities)"
        section.not_computed.append(f"ROC AUC, log loss and calibration error: {shortage}")
        return []
    ranking = {"roc_auc": RocAuc(roc_curve=False), "log_loss": LogLoss()}
    data = [probabilities_dataset(frame, manifest) for frame in (known, expected)]
    scores = _keep_scores(section, run_report(list(ranking.values()), *data), ranking, manifest)
    calibration = {"calibration_error": CalibrationError(probability=PROBABILITY, correct=CORRECT)}
    definition = DataDefinition(numerical_columns=[PROBABILITY, CORRECT])
    data = [
        Dataset.from_pandas(scored_predictions(frame, manifest), data_definition=definition)
        for frame in (known, expected)
    ]
    return scores + _keep_scores(section, run_report(list(calibration.values()), *data), calibration, manifest)


def _keep_scores(
    section: Section, snapshot: Snapshot, metrics: dict[str, Metric], manifest: ClassifierManifest
) -> list[Score]:
    on_test = test_scores(manifest)
    scores = []
    for name, metric in metrics.items():
        result = snapshot.context.get_metric_result(metric.metric_id)
        held_out = snapshot.context.get_reference_metric_result(metric.metric_id)
        scores.append(Score(name, float(result.value), on_test.get(name), float(held_out.value), None))
        if finite(result) is None:
            section.not_computed.append(f"{name}: not defined for the labels of this window")
            continue
        section.measure(name, None, result.value)
        section.keep(result)
    return scores


def _score_each_class(
    section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest
) -> None:
    metrics = {"precision": PrecisionByLabel(), "recall": RecallByLabel(), "f1": F1ByLabel()}
    snapshot = run_report(list(metrics.values()), classes_dataset(labelled), classes_dataset(reference))
    # scikit-learn says 0 for the precision of a class never predicted and the recall of one without labels.
    predicted, actual = set(labelled[PREDICTION]), set(labelled[LABEL])
    defined = {"precision": predicted, "recall": actual, "f1": predicted | actual}
    columns: dict[str, ClassScores] = {}
    for name, metric in metrics.items():
        result: ByLabelValue = snapshot.context.get_metric_result(metric.metric_id)
        result.values = {label: value for label, value in result.values.items() if label in defined[name]}
        scores = {str(label): float(value.value) for label, value in result.values.items()}
        columns[name] = ClassScores(scores, class_test_scores(manifest, name))
        for label, value in scores.items():
            section.measure(f"{name}_by_class", label, value)
        section.keep(finite(result))
    section.widgets.append(classes_table(columns, labelled))
