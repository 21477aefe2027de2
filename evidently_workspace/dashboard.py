"""The project's dashboard in Evidently UI: one panel per measure of the snapshots.

The labels of each series are those under which `section.Section.keep` stores a result. Imports no Evidently.
"""

from collections.abc import Iterator
from typing import Any

from evidently_workspace.panels import (
    Panel,
    Series,
    counter_panel,
    dashboard,
    line_panel,
    series,
    text_panel,
)
from model.manifest import LABEL, PREDICTION, Manifest

SCORES = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "F1": "F1Score"}
LABEL_DELAY = (
    "These look at the labels that arrived in a window, whenever their predictions were made: nobody knows how "
    "late a label may be, so no window ever has to be computed again."
)


def build_dashboard(manifest: Manifest) -> dict[str, Any]:
    """Return the dashboard for a model, as Evidently UI stores it; equal manifests give equal dashboards."""
    panels = [
        *_window_panels(),
        *_drift_panels(manifest),
        *_quality_panels(manifest),
        *_target_panels(manifest),
        *_performance_panels(manifest),
    ]
    return dashboard("Model health", panels)


def _window_panels() -> Iterator[Panel]:
    newest = [_rows("predicted"), _rows("labelled"), _drifted(), *_scores("accuracy", "F1")]
    yield counter_panel("Newest window", "A window with too little data leaves a value as it was.", newest)
    yield line_panel("Rows per window", None, [_rows("predicted"), _rows("labelled")], "full")


def _drift_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel(
        "Drift of features and predictions",
        "Distances from the reference, of the predictions made in each window. Numbers: Wasserstein distance in "
        "standard deviations of the reference; all else: Jensen-Shannon distance. The threshold of a column "
        "depends on the rows of the window and is in each report.",
    )
    names = manifest.feature_names
    drifts = [series(name, "ValueDrift", column=name) for name in names]
    yield line_panel("Drift distance of each feature", None, drifts, "full")
    yield line_panel("Drifted features", "Features whose distance reached their threshold.", [_drifted()])
    yield line_panel("Prediction drift", None, [series(PREDICTION, "ValueDrift", column=PREDICTION)])
    yield line_panel("Predicted classes", "Share of each class among the predictions.", _shares(manifest, PREDICTION))


def _quality_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel(
        "Data quality", "Of the predictions made in each window; ranges and categories are those of training."
    )
    numbers = [feature.name for feature in manifest.features if feature.type == "number"]
    others = [feature.name for feature in manifest.features if feature.type != "number"]
    missing = [_share(name, "MissingValueCount") for name in manifest.feature_names]
    yield line_panel("Missing share of each feature", None, missing)
    if numbers:
        outside = [_share(name, "OutRangeValueCount") for name in numbers]
        yield line_panel("Share outside the training range", None, outside)
    if others:
        new = [_share(name, "OutListValueCount") for name in others]
        yield line_panel("Share of categories new since training", None, new)
    yield line_panel("Duplicated rows", None, [series("duplicated rows", "DuplicatedRowCount")])
    yield line_panel("Constant columns", None, [series("constant columns", "ConstantColumnsCount")])


def _target_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel("Target drift: labels that arrived", LABEL_DELAY)
    yield line_panel("Target drift", None, [series(LABEL, "ValueDrift", column=LABEL)])
    yield line_panel("Classes of the labels", "Share of each class among the labels.", _shares(manifest, LABEL))


def _performance_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel("Performance: labels that arrived", LABEL_DELAY)
    classes = manifest.class_names
    scope = f"Precision, recall and F1 are those of class {classes[-1]}." if len(classes) == 2 else None
    yield line_panel("Accuracy, precision, recall, F1", scope, _scores(*SCORES), "full")
    for title, metric in (("F1", "F1ByLabel"), ("Precision", "PrecisionByLabel"), ("Recall", "RecallByLabel")):
        yield line_panel(f"{title} of each class", None, [series(name, metric, label=name) for name in classes])
    yield line_panel("ROC AUC", None, [series("ROC AUC", "RocAuc")])
    yield line_panel("Log loss", None, [series("log loss", "LogLoss")])


def _scores(*names: str) -> list[Series]:
    return [series(name, SCORES[name]) for name in names]


def _rows(kind: str) -> Series:
    return series(f"{kind} rows", "RowCount", rows=kind)


def _drifted() -> Series:
    return series("drifted features", "DriftedColumnsCount", value_type="count")


def _share(column: str, metric: str) -> Series:
    return series(column, metric, column=column, value_type="share")


def _shares(manifest: Manifest, column: str) -> list[Series]:
    return [
        series(name, "UniqueValueCount", column=column, label=name, value_type="share") for name in manifest.class_names
    ]
