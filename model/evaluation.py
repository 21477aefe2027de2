"""How well the served model does on rows that it has never seen."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, precision_recall_fscore_support, roc_auc_score

from model.classifiers import Probabilities
from model.dataset import Codes
from model.manifest import ClassQuality, HoldOutQuality, NumberQuality


def evaluate(probabilities: Probabilities, codes: Codes, class_names: tuple[str, ...]) -> HoldOutQuality:
    """Return accuracy, log loss, ROC AUC, and precision, recall and F1 per class and averaged unweighted.

    `probabilities` (rows, classes) in the order of `class_names`; `codes` (rows,) the true classes.
    """
    indices = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == codes).sum())
    # zero_division: a class that is never predicted has precision 0, not a warning
    precision, recall, f1, support = precision_recall_fscore_support(codes, predicted, labels=indices, zero_division=0)
    return HoldOutQuality(
        rows=len(codes),
        correct=correct,
        accuracy=correct / len(codes),
        precision=float(np.mean(precision)),
        recall=float(np.mean(recall)),
        f1=float(np.mean(f1)),
        log_loss=float(log_loss(codes, probabilities, labels=indices)),
        roc_auc=_roc_auc(probabilities, codes),
        per_class={
            name: ClassQuality(
                rows=int(support[index]),
                precision=float(precision[index]),
                recall=float(recall[index]),
                f1=float(f1[index]),
            )
            for index, name in enumerate(class_names)
        },
    )


def evaluate_numbers(predictions: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> NumberQuality:
    """Return how far predicted numbers (rows,) are from the true ones (rows,), and R2."""
    errors = predictions - labels
    absolute = np.abs(errors)
    variance = float(labels.var())
    return NumberQuality(
        rows=len(labels),
        mean_absolute_error=float(absolute.mean()),
        root_mean_squared_error=float(np.sqrt((errors**2).mean())),
        median_absolute_error=float(np.median(absolute)),
        largest_absolute_error=float(absolute.max()),
        mean_error=float(errors.mean()),
        r2=1 - float((errors**2).mean()) / variance if variance > 0 else None,
    )


def _roc_auc(probabilities: Probabilities, codes: Codes) -> float | None:
    if len(np.unique(codes)) < probabilities.shape[1]:
        return None
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(codes, probabilities[:, 1]))
    return float(roc_auc_score(codes, probabilities, multi_class="ovr", average="macro"))
