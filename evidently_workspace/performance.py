"""How right the model was on the labels that arrived in the window, against held-out data."""

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelValue, Metric
from evidently.core.report import Snapshot
from evidently.legacy.model.widget import BaseWidgetInfo
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

from evidently_workspace.bounds import lowest_share
from evidently_workspace.calibration_metric import CalibrationError
from evidently_workspace.frames import (
    CORRECT,
    PROBABILITY,
    as_if_certain,
    classes_dataset,
    judged_predictions,
    probabilities_dataset,
    with_probabilities,
)
from evidently_workspace.performance_tables import (
    ClassScores,
    Score,
    class_test_scores,
    classes_table,
    confusion_matrices,
    scores_table,
    test_scores,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.manifest import LABEL, PREDICTION, ClassifierManifest


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
    lowest = lowest_accuracy(len(labelled), reference, manifest)
    scores, matrices = _score_classes_overall(section, labelled, reference, manifest, lowest)
    scores += _score_probabilities(section, labelled, reference, manifest, min_labels)
    section.widgets += [scores_table(scores, manifest), *matrices]
    _score_each_class(section, labelled, reference, manifest)
    return section


def lowest_accuracy(labels: int, reference: pd.DataFrame, manifest: ClassifierManifest) -> float:
    """Return the accuracy below which a window with this many labels is worse than held-out data explains.

    Held-out data are the test set and the reference; see `bounds.lowest_share`, at the model's false
    alarm rate.
    """
    correct = manifest.quality.correct + int((reference[LABEL] == reference[PREDICTION]).sum())
    rows = manifest.quality.rows + len(reference)
    return lowest_share(correct, rows, labels, manifest.false_alarm_rate)


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
        Dataset.from_pandas(judged_predictions(frame, manifest), data_definition=definition)
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
