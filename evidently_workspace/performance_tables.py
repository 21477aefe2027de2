"""The tables and figures of the performance section."""

import math
from typing import NamedTuple

import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.renderers.html_widgets import table_data

from model.manifest import LABEL, ClassifierManifest

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
