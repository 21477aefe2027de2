"""Performance of a classifier on the labels that arrived in the window, compared with held-out data."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.legacy.model.widget import BaseWidgetInfo
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
    RESERVED,
    as_if_certain,
    classes_dataset,
    probabilities_dataset,
    real_names,
    scored_predictions,
    with_neutral_classes,
    with_neutral_names,
    with_probabilities,
)
from evidently_workspace.results import FailedCheck, MetricValue
from evidently_workspace.scores import Score, add_scores, scores_table
from evidently_workspace.section import (
    LEARNING,
    ReferenceComparison,
    Section,
    figures_of,
    finite,
    require,
    result_of,
    run_report,
    values_by_label,
)
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.statistics.bounds import lowest_accuracy, lowest_recall

Floats = NDArray[np.float64]
BINS = 10
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


def performance(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: ClassifierManifest,
    min_labels: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Score the labels that arrived in the window; NotEnoughDataError below `min_labels`.

    For two classes, precision, recall and F1 are those of the last class (Evidently's positive class);
    for more they are unweighted means over the classes that occur. ROC AUC, log loss and calibration error look
    at the predictions whose probabilities are known, if those are at least `min_labels`. Accuracy fails below
    `lowest_accuracy`, and the recall of each class below `lowest_recall`.
    """
    require("labels", len(labelled), min_labels)
    if RESERVED.isdisjoint(manifest.class_names):
        return _performance(labelled, reference, manifest, min_labels, traffic)
    window, known = (with_neutral_classes(frame, manifest) for frame in (labelled, reference))
    section = _performance(window, known, with_neutral_names(manifest), min_labels, traffic)
    section.values = [MetricValue(value.name, real_names(value.column), value.value) for value in section.values]
    section.failed_checks = [replace(check, column=real_names(check.column)) for check in section.failed_checks]
    for widget in section.widgets:
        widget.params = real_names(widget.params)
    return section


def _performance(
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: ClassifierManifest,
    min_labels: int,
    traffic: WindowTraffic,
) -> Section:
    section = Section(
        "Performance",
        "Predictions whose label arrived in the window, whenever they were made. The test set and the reference are "
        "two parts of the data that training held out.",
    )
    right = (reference[LABEL] == reference[PREDICTION]).to_numpy()
    lowest = traffic.limit("accuracy", None, lowest_accuracy(len(labelled), right, manifest))
    (accuracy, *others), matrices = _score_classes(section, labelled, reference, manifest, lowest)
    recalls = [("recall_by_class", real_names(name)) for name in manifest.class_names]
    section.say_what_is_learned(traffic, [("accuracy", None), *recalls])
    scores = [accuracy.judged(lowest, traffic, ".3f"), *others]
    scores += _score_probabilities(section, labelled, reference, manifest, min_labels)
    table = scores_table(scores, lambda name: _title(name, manifest), lambda _, value: _shown(value), "below")
    section.widgets += [table, *matrices]
    _score_each_class(section, labelled, reference, manifest, traffic)
    return section


def _score_classes(
    section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, lowest: float
) -> tuple[list[Score], list[BaseWidgetInfo]]:
    """Return the scores that need no probabilities, accuracy first, and the confusion matrices."""
    metrics = {
        "accuracy": Accuracy(tests=[gte(lowest)]),
        "precision": Precision(conf_matrix=False),
        "recall": Recall(conf_matrix=False),
        "f1": F1Score(conf_matrix=True),
    }
    data = (probabilities_dataset(as_if_certain(frame, manifest), manifest) for frame in (labelled, reference))
    snapshot = run_report(list(metrics.values()), *data)
    matrices = figures_of(result_of(snapshot, metrics["f1"]).widget, "Confusion matrix")
    scores = add_scores(section, snapshot, metrics, test_scores(manifest))
    accuracy = scores[0].window
    if accuracy < lowest:
        section.failed_checks.append(FailedCheck("performance", "accuracy", accuracy, lowest, "accuracy"))
    return scores, matrices


def test_scores(manifest: ClassifierManifest) -> dict[str, float | None]:
    """Return the scores on the test set by name, of the same classes as those of a window."""
    quality = manifest.quality
    scores: dict[str, float | None] = {name: getattr(quality, name) for name in SCORE_TITLES if hasattr(quality, name)}
    if len(manifest.classes) == 2:
        positive = quality.per_class[manifest.class_names[-1]]
        scores |= {name: getattr(positive, name) for name in OF_CLASSES}
    return scores


def _score_probabilities(
    section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, min_labels: int
) -> list[Score]:
    """Return the scores that need probabilities; none where too few labels have them."""
    if manifest.calibration is None:
        section.not_computed.append("ROC AUC, log loss and calibration error: the predictions have no probabilities")
        return []
    rows = [with_probabilities(frame, manifest) for frame in (labelled, reference)]
    found, needed = len(rows[0]), max(min_labels, 1)
    if found < needed:
        shortage = f"not enough data ({found} of at least {needed} labels have probabilities)"
        section.not_computed.append(f"ROC AUC, log loss and calibration error: {shortage}")
        return []
    on_test = test_scores(manifest)
    ranking = {"roc_auc": RocAuc(roc_curve=False), "log_loss": LogLoss()}
    datasets = (probabilities_dataset(frame, manifest) for frame in rows)
    scores = add_scores(section, run_report(list(ranking.values()), *datasets), ranking, on_test)
    calibration = {"calibration_error": CalibrationError(probability=PROBABILITY, correct=CORRECT)}
    definition = DataDefinition(numerical_columns=[PROBABILITY, CORRECT])
    datasets = (Dataset.from_pandas(scored_predictions(frame, manifest), data_definition=definition) for frame in rows)
    return scores + add_scores(section, run_report(list(calibration.values()), *datasets), calibration, on_test)


class RecallBound(NamedTuple):
    """The recall below which a class fails, what is usual in this traffic, and whether that is still being learned."""

    lowest: float
    usual: str
    learning: bool


def _recall_bounds(
    labelled: pd.DataFrame, reference: pd.DataFrame, manifest: ClassifierManifest, traffic: WindowTraffic
) -> dict[str, RecallBound]:
    """Return the bound of each class that the model knows and the window has labels of."""
    labels, bounds = labelled[LABEL].value_counts(), {}
    right = (reference[LABEL] == reference[PREDICTION]).to_numpy()
    for name in manifest.class_names:
        if name in labels and traffic.covers("recall_by_class", real_names(name)):
            of_class = right[(reference[LABEL] == name).to_numpy()]
            by_rows = lowest_recall(int(labels[name]), name, of_class, manifest)
            series = "recall_by_class", real_names(name)
            usual = traffic.usual(*series)
            bounds[name] = RecallBound(
                traffic.limit(*series, by_rows),
                "" if usual is None else usual.shown(".3f"),
                traffic.is_learning(*series),
            )
    return bounds


def _score_each_class(
    section: Section,
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: ClassifierManifest,
    traffic: WindowTraffic,
) -> None:
    bounds = _recall_bounds(labelled, reference, manifest, traffic)
    recall = RecallByLabel(tests={name: [gte(bound.lowest)] for name, bound in bounds.items()})
    metrics = {"precision": PrecisionByLabel(), "recall": recall, "f1": F1ByLabel()}
    snapshot = run_report(list(metrics.values()), classes_dataset(labelled), classes_dataset(reference))
    # scikit-learn returns 0 for the precision of a class never predicted and the recall of one without labels.
    predicted, actual = set(labelled[PREDICTION]), set(labelled[LABEL])
    defined = {"precision": predicted, "recall": actual, "f1": predicted | actual}
    columns: dict[str, ClassScores] = {}
    for name, metric in metrics.items():
        result = result_of(snapshot, metric)
        result.values = {label: value for label, value in result.values.items() if label in defined[name]}
        scores = values_by_label(result)
        on_test = {label: getattr(quality, name) for label, quality in manifest.quality.per_class.items()}
        columns[name] = ClassScores(scores, on_test)
        for label, value in scores.items():
            section.add_value(f"{name}_by_class", label, value)
        result.values = real_names(result.values)
        for value in result.values.values():
            value.display_name = real_names(value.display_name)
        for test in result.tests:
            test.name, test.description = real_names(test.name), real_names(test.description)
        section.add_result(finite(result))
    for label, bound in bounds.items():
        section.add_value("labels_by_class", label, int((labelled[LABEL] == label).sum()))
        if (value := columns["recall"].window[label]) < bound.lowest:
            section.failed_checks.append(FailedCheck("performance", label, value, bound.lowest, "recall"))
    section.widgets.append(classes_table(columns, labelled, bounds))


class ClassScores(NamedTuple):
    """One score by class name, in the window (where it is defined) and on the test set."""

    window: dict[str, float]
    test: dict[str, float]


def classes_table(
    columns: dict[str, ClassScores], labelled: pd.DataFrame, bounds: Mapping[str, RecallBound]
) -> BaseWidgetInfo:
    """Return the table of scores per class, with the number of labels of each, and the recall from which it fails."""
    names = sorted({name for scores in columns.values() for name in (*scores.window, *scores.test)})
    labels = labelled[LABEL].value_counts()
    header = ["Class", "Labels"]
    for score in columns:
        header += [SCORE_TITLES[score], f"{SCORE_TITLES[score]}, test set"]
    with_usual = any(bound.usual for bound in bounds.values())
    header += [*(["Usual recall"] if with_usual else []), "Recall fails"]
    rows = []
    for name in names:
        row = [name, f"{labels.get(name, 0):,}"]
        for scores in columns.values():
            row += [_shown(scores.window.get(name, math.nan)), _shown(scores.test.get(name, math.nan))]
        bound = bounds.get(name, RecallBound(math.nan, "", learning=False))
        fails = f"below {bound.lowest:.3f}" if math.isfinite(bound.lowest) else ""
        row += [*([bound.usual] if with_usual else []), fails + (f" ({LEARNING})" if bound.learning else "")]
        rows.append(row)
    return table_data(title="Scores of each class", column_names=header, data=rows)


def _title(name: str, manifest: ClassifierManifest) -> str:
    classes = manifest.class_names
    scope = f"of class {classes[-1]}" if len(classes) == 2 else "mean over the classes"
    return SCORE_TITLES[name] + (f" ({scope})" if name in OF_CLASSES else "")


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"


class CalibrationError(SingleValueMetric):  # type: ignore[misc]  # Evidently ships no types
    """The expected calibration error; `probability` and `correct` name numerical columns."""

    probability: str
    correct: str


class CalibrationErrorCalculation(ReferenceComparison[CalibrationError], SingleValueCalculation[CalibrationError]):  # type: ignore[misc]
    """Calculates CalibrationError on the window, and on the reference beside it."""

    def display_name(self) -> str:
        """Return the name of the metric."""
        return "Calibration error"

    def _measure(self, dataset: Dataset) -> SingleValue:
        probability, correct = (
            dataset.column(name).data.to_numpy("float64") for name in (self.metric.probability, self.metric.correct)
        )
        return self.result(calibration_error(probability, correct))
