"""How right the model was on the labels that arrived in the window, against held-out data."""

import pandas as pd
from evidently.core.metric_types import ByLabelValue
from evidently.core.report import Snapshot
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
from evidently_workspace.frames import classes_dataset, probabilities_dataset
from evidently_workspace.performance_tables import (
    ClassScores,
    Score,
    classes_table,
    confusion_matrices,
    scores_table,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.manifest import LABEL, PREDICTION, Manifest


def performance(labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_labels: int) -> Section:
    """Score the labels that arrived in the window; NotEnoughDataError below `min_labels`.

    For two classes, precision, recall and F1 are those of the last class (Evidently's positive class);
    for more they are unweighted means over the classes that occur. Accuracy fails below
    `lowest_accuracy`.
    """
    require("labels", len(labelled), min_labels)
    section = Section("Performance", "Predictions whose label arrived in the window, whenever they were made.")
    _score_all(section, labelled, reference, manifest)
    _score_classes(section, labelled, reference)
    return section


def lowest_accuracy(labels: int, reference: pd.DataFrame, manifest: Manifest) -> float:
    """Return the accuracy below which a window with this many labels is worse than held-out data explains.

    Held-out data are the test set and the reference; see `bounds.lowest_share`, at the model's false
    alarm rate.
    """
    correct = manifest.quality.correct + int((reference[LABEL] == reference[PREDICTION]).sum())
    rows = manifest.quality.rows + len(reference)
    return lowest_share(correct, rows, labels, manifest.false_alarm_rate)


def _score_all(section: Section, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> None:
    lowest = lowest_accuracy(len(labelled), reference, manifest)
    metrics = {
        "accuracy": Accuracy(tests=[gte(lowest)]),
        "precision": Precision(conf_matrix=False),
        "recall": Recall(conf_matrix=False),
        "f1": F1Score(conf_matrix=True),
        "roc_auc": RocAuc(roc_curve=False),
        "log_loss": LogLoss(),
    }
    data = [probabilities_dataset(frame, manifest) for frame in (labelled, reference)]
    snapshot = run_report(list(metrics.values()), *data)
    scores = []
    for name, metric in metrics.items():
        result = snapshot.context.get_metric_result(metric.metric_id)
        held_out = snapshot.context.get_reference_metric_result(metric.metric_id)
        scores.append(Score(name, result.value, held_out.value, lowest if name == "accuracy" else None))
        if name == "f1":
            matrices = confusion_matrices(result.widget)
        if finite(result) is None:
            section.not_computed.append(f"{name}: not defined for the labels of this window")
            continue
        section.measure(name, None, result.value)
        section.keep(result)
    accuracy = scores[0].window
    if accuracy < lowest:
        section.failed_checks.append(FailedCheck("performance", "accuracy", float(accuracy), lowest))
    section.widgets += [scores_table(scores, manifest), *matrices]


def _score_classes(section: Section, labelled: pd.DataFrame, reference: pd.DataFrame) -> None:
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
        columns[name] = ClassScores(scores, _reference_scores(snapshot, metric))
        for label, value in scores.items():
            section.measure(f"{name}_by_class", label, value)
        section.keep(finite(result))
    section.widgets.append(classes_table(columns, labelled))


def _reference_scores(snapshot: Snapshot, metric: PrecisionByLabel | RecallByLabel | F1ByLabel) -> dict[str, float]:
    result = snapshot.context.get_reference_metric_result(metric.metric_id)
    return {str(label): float(value.value) for label, value in result.values.items()}
