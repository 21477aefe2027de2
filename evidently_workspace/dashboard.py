"""The project's dashboard in Evidently UI: one panel per measure of the snapshots.

The labels of each series are those under which `section.Section.add_result` stores a result. Imports no Evidently.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from evidently_workspace.classification.panels import ClassificationPanels
from evidently_workspace.panels import (
    BY_LABEL,
    LABEL_DELAY,
    MAX_DRAWN_RATIO,
    Panel,
    Series,
    counter_panel,
    dashboard,
    line_panel,
    series,
    text_panel,
)
from evidently_workspace.regression.panels import RegressionPanels
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest
from model.data.encoding import number_features, text_features
from model.statistics.attribution import NDCG_ALARM

UNITS = {"probability": "probabilities", "log odds": "log odds", "target": "the unit of the target"}
"""The unit of the attributions, for people."""
_RATIO = (
    f"The distance divided by its threshold in that window: 1 is the alarm. It is drawn up to {MAX_DRAWN_RATIO:g}. "
    "Snapshots of earlier releases do not have it."
)
MAX_ALL_FEATURES, MAX_FEATURES = 50, 12
"""A chart has a line for each feature of up to so many; of more, for those that move the predictions most."""
Kind = ClassificationPanels | RegressionPanels
"""The panels that depend on the kind of model."""


def build_dashboard(manifest: Manifest) -> dict[str, Any]:
    """Return the dashboard for a model, as Evidently UI stores it; equal manifests give equal dashboards."""
    kind = ClassificationPanels(manifest) if isinstance(manifest, ClassifierManifest) else RegressionPanels(manifest)
    panels = [
        *_summary_panels(kind),
        *_drift_panels(manifest, kind),
        *_attribution_panels(manifest),
        *_quality_panels(manifest),
        *_target_panels(kind),
        *kind.concept(),
        *kind.performance(),
        *_version_panels(kind),
    ]
    return dashboard("Model health", panels)


def _summary_panels(kind: Kind) -> Iterator[Panel]:
    newest = [
        _drifted("count"),
        series("failed checks", "FailedChecks"),
        *kind.newest_scores,
        series("labels per row", "LabelledShare"),
        _rows("predicted"),
    ]
    yield counter_panel("Newest window", "A window with too little data leaves the previous value.", newest)
    yield line_panel(
        "Failed checks", "All kinds together; each report lists them.", [series("failed checks", "FailedChecks")]
    )
    yield line_panel("Rows per window", None, [_rows("predicted"), _rows("labelled")])


def _drift_panels(manifest: Manifest, kind: Kind) -> Iterator[Panel]:
    yield text_panel(
        "Data drift: features and predictions",
        "The distance of the predictions made in each window from the reference. Numbers: Wasserstein distance, in "
        "standard deviations of the reference. Everything else: Jensen-Shannon distance. The threshold of a column "
        "depends on the number of rows in the window; each report shows it.",
    )
    names, which = _shown_features(manifest, manifest.feature_names)
    ratios = [series(name, "DriftRatio", column=name) for name in names]
    yield line_panel("Drift of each feature, in thresholds", f"{which or ''} {_RATIO}".strip(), ratios, "full")
    drifts = [series(name, "ValueDrift", column=name) for name in names]
    yield line_panel("Drift distance of each feature", which, drifts, "full")
    yield line_panel(
        "Drifted features", "The number of features whose distance reached their threshold.", [_drifted("count")]
    )
    yield line_panel("Share of drifted features", None, [_drifted("share")])
    yield line_panel("Prediction drift", _RATIO, _ratio_and_distance(PREDICTION))
    yield kind.predictions()


def _attribution_panels(manifest: Manifest) -> Iterator[Panel]:
    if manifest.attributions is None:
        yield text_panel("Attributions", f"Not computed for this model: {manifest.attributions_missing}.")
        return
    yield text_panel(
        "Attributions: what moves the predictions",
        "Mean |SHAP| of each feature on a sample of the window's rows: how far it moves the model's predictions, in "
        f"{UNITS[manifest.attributions.unit]}. "
        f"Ranking (nDCG): 1 is the order of the reference; below {NDCG_ALARM} the check fails. Distance: the share of "
        "all attribution that belongs to other features than on the reference.",
    )
    means = [
        series(name, "MeanAttribution", label=name) for name in _shown_features(manifest, manifest.feature_names)[0]
    ]
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
        "Data quality", "Of the predictions made in each window. Ranges and categories are those of the training data."
    )
    numbers = [feature.name for feature in number_features(manifest.features)]
    others = [feature.name for feature in text_features(manifest.features)]
    charts = [
        ("Missing share of each feature", "MissingValueCount", manifest.feature_names),
        ("Share outside the training range", "OutRangeValueCount", numbers),
        ("Share of categories new since training", "OutListValueCount", others),
    ]
    for title, metric, names in charts:
        shown, which = _shown_features(manifest, names)
        if names:
            yield line_panel(title, which, [_share(name, metric) for name in shown])
    yield line_panel("Duplicated rows", None, [series("duplicated rows", "DuplicatedRowCount")])
    same = [
        series("constant columns", "ConstantColumnsCount"),
        series("duplicate columns", "DuplicatedColumnsCount"),
    ]
    yield line_panel("Constant and duplicate columns", "Each report names them.", same)
    # One line per reason that occurred.
    rejected = [series(BY_LABEL, "RejectedRequests")]
    yield line_panel("Rejected requests", "Requests that the API refused in each window, by reason.", rejected)


def _shown_features(manifest: Manifest, names: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the features that a chart has lines for, and what to say where they are not all of these."""
    if len(names) <= MAX_ALL_FEATURES:
        return names, None
    weights = {} if manifest.attributions is None else manifest.attributions.mean_absolute
    chosen = sorted(names, key=lambda name: weights.get(name, 0.0), reverse=True)[:MAX_FEATURES]
    those = "that move the predictions most" if weights else "that come first in the schema"
    return chosen, f"The {MAX_FEATURES} of {len(names)} features {those}; each report has all."


def _target_panels(kind: Kind) -> Iterator[Panel]:
    yield text_panel("Target drift: labels that arrived", LABEL_DELAY)
    yield line_panel("Target drift", _RATIO, _ratio_and_distance(LABEL))
    yield kind.labels()


def _version_panels(kind: Kind) -> Iterator[Panel]:
    yield text_panel(
        "Versions of the model",
        "One line for each version. A window is measured for the version that predicted most of its rows; rows of "
        "other versions are counted but not measured. The tags of every snapshot contain its version.",
    )
    yield line_panel("Rows of each version", None, [series(BY_LABEL, "VersionRows")], "full")
    yield line_panel("Failed checks of each version", None, [series(BY_LABEL, "VersionFailedChecks")])
    yield kind.version_score()


def _rows(kind: str) -> Series:
    return series(f"{kind} rows", "RowCount", rows=kind)


def _ratio_and_distance(column: str) -> list[Series]:
    return [series("in thresholds", "DriftRatio", column=column), series("distance", "ValueDrift", column=column)]


def _drifted(value_type: str) -> Series:
    legend = "drifted features" if value_type == "count" else "share drifted"
    return series(legend, "DriftedColumnsCount", value_type=value_type)


def _share(column: str, metric: str) -> Series:
    return series(column, metric, column=column, value_type="share")
