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
from model.attribution_drift import NDCG_ALARM
from model.manifest import LABEL, PREDICTION, Manifest

SCORES = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "F1": "F1Score"}
BY_LABEL = "{{label}}"
"""The UI puts the label of each line here, so that nobody need know them beforehand."""
LABEL_DELAY = (
    "These look at the labels that arrived in a window, whenever their predictions were made: nobody knows how "
    "late a label may be, so no window ever has to be computed again."
)


def build_dashboard(manifest: Manifest) -> dict[str, Any]:
    """Return the dashboard for a model, as Evidently UI stores it; equal manifests give equal dashboards."""
    panels = [
        *_summary_panels(),
        *_drift_panels(manifest),
        *_attribution_panels(manifest),
        *_quality_panels(manifest),
        *_target_panels(manifest),
        *_concept_panels(),
        *_performance_panels(manifest),
        *_version_panels(),
    ]
    return dashboard("Model health", panels)


def _summary_panels() -> Iterator[Panel]:
    newest = [
        _drifted("count"),
        series("failed checks", "FailedChecks"),
        *_scores("accuracy", "F1"),
        series("labels per row", "LabelledShare"),
        _rows("predicted"),
    ]
    yield counter_panel("Newest window", "A window with too little data leaves a value as it was.", newest)
    yield line_panel(
        "Failed checks", "All kinds together; each report lists them.", [series("failed checks", "FailedChecks")]
    )
    yield line_panel("Rows per window", None, [_rows("predicted"), _rows("labelled")])


def _drift_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel(
        "Data drift: features and predictions",
        "Distances from the reference, of the predictions made in each window. Numbers: Wasserstein distance in "
        "standard deviations of the reference; all else: Jensen-Shannon distance. The threshold of a column "
        "depends on the rows of the window and is in each report.",
    )
    names = manifest.feature_names
    drifts = [series(name, "ValueDrift", column=name) for name in names]
    yield line_panel("Drift distance of each feature", None, drifts, "full")
    yield line_panel("Drifted features", "Features whose distance reached their threshold.", [_drifted("count")])
    yield line_panel("Share of drifted features", None, [_drifted("share")])
    yield line_panel("Prediction drift", None, [series(PREDICTION, "ValueDrift", column=PREDICTION)])
    yield line_panel("Predicted classes", "Share of each class among the predictions.", _shares(manifest, PREDICTION))


def _attribution_panels(manifest: Manifest) -> Iterator[Panel]:
    if manifest.attributions is None:
        yield text_panel("Attributions", f"Not computed for this model: {manifest.attributions_missing}.")
        return
    yield text_panel(
        "Attributions: what moves the predictions",
        "Mean |SHAP| of each feature on a sample of the window's rows: how far it moves the model's answers, in "
        f"{'probabilities' if manifest.attributions.unit == 'probability' else 'log odds'}. "
        f"Ranking (nDCG): 1 is the order of the reference, below {NDCG_ALARM} fails. Distance: the part of all "
        "attribution that sits on other features than on the reference.",
    )
    means = [series(name, "MeanAttribution", label=name) for name in manifest.feature_names]
    yield line_panel("Attribution of each feature", _attributions_on_reference(manifest), means, "full")
    yield line_panel("Attribution ranking (nDCG)", None, [series("nDCG", "AttributionDrift", label="ndcg")])
    yield line_panel("Attribution distance", None, [series("distance", "AttributionDrift", label="distance")])


def _attributions_on_reference(manifest: Manifest) -> str | None:
    if manifest.attributions is None:
        return None
    means = sorted(manifest.attributions.mean_absolute.items(), key=lambda item: item[1], reverse=True)
    return f"On the reference: {', '.join(f'{name} {mean:.3g}' for name, mean in means[:5])}."


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
    odd = [series("constant columns", "ConstantColumnsCount"), series("duplicate columns", "DuplicatedColumnsCount")]
    yield line_panel("Constant and duplicate columns", "Each report names them.", odd)
    # One line per reason that occurred.
    rejected = [series(BY_LABEL, "RejectedRequests")]
    yield line_panel("Rejected requests", "Requests that the API refused in each window, by reason.", rejected)


def _target_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel("Target drift: labels that arrived", LABEL_DELAY)
    yield line_panel("Target drift", None, [series(LABEL, "ValueDrift", column=LABEL)])
    yield line_panel("Classes of the labels", "Share of each class among the labels.", _shares(manifest, LABEL))


def _concept_panels() -> Iterator[Panel]:
    yield text_panel(
        "Concept drift: labels that arrived",
        "Errors beside those that the model's own calibrated probabilities let expect on the same rows. Together they "
        "may rise and fall with the inputs; when the observed error leaves the expected one, labels follow from the "
        "inputs in another way than in training. " + LABEL_DELAY,
    )
    errors = [series(f"{kind} error", "ConceptDrift", label=f"{kind}_error") for kind in ("observed", "expected")]
    yield line_panel("Observed and expected error", None, errors, "full")
    yield line_panel("Concept gap", "Observed minus expected error.", [series("gap", "ConceptDrift", label="gap")])
    z = [series("z", "ConceptDrift", label="z")]
    yield line_panel("Concept z", "The gap in standard deviations; the threshold is in each report.", z)


def _performance_panels(manifest: Manifest) -> Iterator[Panel]:
    yield text_panel("Performance: labels that arrived", LABEL_DELAY)
    quality, classes = manifest.quality, manifest.class_names
    # The window's scores of two classes are those of the last one, so these are too.
    scored = quality.per_class[classes[-1]] if len(classes) == 2 else quality
    scope = f"Precision, recall and F1 are those of class {classes[-1]}. " if len(classes) == 2 else ""
    on_test = _on_test_set(accuracy=quality.accuracy, precision=scored.precision, recall=scored.recall, F1=scored.f1)
    yield line_panel("Accuracy, precision, recall, F1", scope + on_test, _scores(*SCORES), "full")
    for title, metric in (("F1", "F1ByLabel"), ("Precision", "PrecisionByLabel"), ("Recall", "RecallByLabel")):
        by_class = {name: getattr(quality.per_class[name], title.lower()) for name in classes}
        lines = [series(name, metric, label=name) for name in classes]
        yield line_panel(f"{title} of each class", _on_test_set(**by_class), lines)
    roc_auc = None if quality.roc_auc is None else _on_test_set(quality.roc_auc)
    yield line_panel("ROC AUC", roc_auc, [series("ROC AUC", "RocAuc")])
    yield line_panel("Log loss", _on_test_set(quality.log_loss), [series("log loss", "LogLoss")])
    calibration = "Mean difference between a probability and how often it is right; above 0 even by chance."
    yield line_panel("Calibration error", calibration, [series("calibration error", "CalibrationError")])


def _version_panels() -> Iterator[Panel]:
    yield text_panel(
        "Versions of the model",
        "One line for each version. A window is measured against the version that made most of its rows; rows of "
        "another are counted, not measured. Every snapshot has its version among its tags.",
    )
    yield line_panel("Rows of each version", None, [series(BY_LABEL, "VersionRows")], "full")
    yield line_panel("Failed checks of each version", None, [series(BY_LABEL, "VersionFailedChecks")])
    yield line_panel("Accuracy of each version", None, [series(BY_LABEL, "VersionScore", score="accuracy")])


def _on_test_set(only: float | None = None, **scores: float) -> str:
    named = [f"{name} {score:.3f}" for name, score in scores.items()]
    return f"On the test set: {', '.join(named if only is None else [f'{only:.3f}'])}."


def _scores(*names: str) -> list[Series]:
    return [series(name, SCORES[name]) for name in names]


def _rows(kind: str) -> Series:
    return series(f"{kind} rows", "RowCount", rows=kind)


def _drifted(value_type: str) -> Series:
    legend = "drifted features" if value_type == "count" else "share drifted"
    return series(legend, "DriftedColumnsCount", value_type=value_type)


def _share(column: str, metric: str) -> Series:
    return series(column, metric, column=column, value_type="share")


def _shares(manifest: Manifest, column: str) -> list[Series]:
    return [
        series(name, "UniqueValueCount", column=column, label=name, value_type="share") for name in manifest.class_names
    ]
