"""The project's dashboard in Evidently UI: what a person needs to see in five seconds; the reports have the rest.

The labels of each series are those under which `section.Section.add_result` stores a result. Imports no Evidently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evidently_workspace.checks import CHECKS
from evidently_workspace.panels import (
    BY_LABEL,
    MAX_DRAWN_RATIO,
    Panel,
    Series,
    counter_panel,
    dashboard,
    line_panel,
    series,
    text_panel,
)
from evidently_workspace.task_panels import ClassificationPanels, RegressionPanels
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Feature, Manifest
from model.data.encoding import encoding_of

MAX_LINES = 12
"""Lines of one panel: more of them nobody tells apart."""
UNITS = {"probability": "probabilities", "log odds": "log odds", "target": "the unit of the target"}
"""The unit of the attributions, for people."""
Kind = ClassificationPanels | RegressionPanels
"""The panels that depend on the kind of model."""


@dataclass(frozen=True, slots=True)
class State:
    """What the dashboard shows of the newest windows: a sentence, and for each panel the columns that matter now."""

    sentence: str = "No window has been measured yet."
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def build_dashboard(manifest: Manifest, state: State | None = None) -> dict[str, Any]:
    """Return the dashboard for a model, as Evidently UI stores it; equal arguments give equal dashboards."""
    state = state or State()
    kind = ClassificationPanels(manifest) if isinstance(manifest, ClassifierManifest) else RegressionPanels(manifest)
    panels = [
        *_summary_panels(kind, state),
        *_drift_panels(manifest, kind, state),
        *kind.performance(),
        *_quality_panels(manifest, state),
        *_attribution_panels(manifest, state),
        *_version_panels(),
    ]
    return dashboard("Model health", panels)


def _summary_panels(kind: Kind, state: State) -> Iterator[Panel]:
    yield text_panel("Is all well?", state.sentence)
    newest = [series("failed checks", "FailedChecks"), *kind.newest_scores, _rows("predicted"), _rows("labelled")]
    yield counter_panel("Newest window", "A window with too little data leaves the previous value.", newest)
    kinds = [series(check.title.lower(), "FailedChecksOfKind", check=check.name) for check in CHECKS]
    yield line_panel("Failed checks by kind", "How many columns or measures failed; each report lists them.", kinds)
    yield line_panel("Rows per window", None, [_rows("predicted"), _rows("labelled")])


def _drift_panels(manifest: Manifest, kind: Kind, state: State) -> Iterator[Panel]:
    names = _shown(manifest, state, "drift")
    moved = _of_all(manifest, names, "that moved most")
    yield line_panel(
        "Data drift, in thresholds",
        f"The distance of each feature from the reference, divided by its threshold in that window: 1 is the alarm. "
        f"Drawn up to {MAX_DRAWN_RATIO:g}.{moved}",
        [*(series(name, "DriftRatio", column=name) for name in names), _threshold()],
        "full",
    )
    yield line_panel(
        "Prediction and target drift, in thresholds",
        "Of the predictions made in a window, and of the labels that arrived in it.",
        [
            series("predictions", "DriftRatio", column=PREDICTION),
            series("labels", "DriftRatio", column=LABEL),
            _threshold(),
        ],
    )
    yield kind.predictions()


def _quality_panels(manifest: Manifest, state: State) -> Iterator[Panel]:
    missing = _shown(manifest, state, "missing")
    yield line_panel(
        "Missing values",
        f"Share of each feature.{_of_all(manifest, missing, 'with most of them')}",
        [_share(name, "MissingValueCount") for name in missing],
    )
    types = {feature.name: feature for feature in manifest.features}
    outside = [types[name] for name in _shown(manifest, state, "outside")]
    yield line_panel(
        "Values outside the training data",
        "Share of numbers beyond their range in training, and of categories that it has not seen."
        f"{_of_all(manifest, outside, 'with most of them')}",
        [_share(feature.name, _outside(feature)) for feature in outside],
    )
    # One line per reason that occurred.
    rejected = [series(BY_LABEL, "RejectedRequests")]
    yield line_panel("Rejected requests", "Requests that the API refused in each window, by reason.", rejected)


def _attribution_panels(manifest: Manifest, state: State) -> Iterator[Panel]:
    if manifest.attributions is None:
        return
    names = _shown(manifest, state, "attributions")
    yield line_panel(
        "What moves the predictions",
        f"Mean |SHAP| of each feature, in {UNITS[manifest.attributions.unit]}."
        f"{_of_all(manifest, names, 'that move them most')}",
        [series(name, "MeanAttribution", label=name) for name in names],
    )


def _version_panels() -> Iterator[Panel]:
    text = "A window is measured for the version that predicted most of its rows."
    yield line_panel("Rows of each version", text, [series(BY_LABEL, "VersionRows")])


def _shown(manifest: Manifest, state: State, panel: str) -> list[str]:
    """Return the features that have a line: those that matter now, then those that move the predictions most."""
    known = [name for name in state.columns.get(panel, ()) if name in manifest.feature_names]
    usual = manifest.feature_names
    if manifest.attributions is not None:
        of = manifest.attributions.mean_absolute
        usual = tuple(sorted(usual, key=lambda name: -of.get(name, 0.0)))
    return list(dict.fromkeys([*known, *usual]))[:MAX_LINES]


def _of_all(manifest: Manifest, shown: Sequence[object], which: str) -> str:
    """Say that only some of the features have a line, where that is so."""
    every = len(manifest.features)
    return "" if len(shown) == every else f" The {len(shown)} of {every} features {which}; each report has all."


def _outside(feature: Feature) -> str:
    return "OutRangeValueCount" if encoding_of(feature).is_number else "OutListValueCount"


def _rows(kind: str) -> Series:
    return series(f"{kind} rows", "RowCount", rows=kind)


def _threshold() -> Series:
    return series("threshold", "Threshold")


def _share(column: str, metric: str) -> Series:
    return series(column, metric, column=column, value_type="share")
