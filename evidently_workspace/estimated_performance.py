"""Estimated performance: how well the model should do on all rows of the window, and why it does worse than usual."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.frames import shortened
from evidently_workspace.panels import signed, written
from evidently_workspace.results import NO_PROBABILITIES
from evidently_workspace.section import NotEnoughDataError, Section, require
from model.artifact.estimates import DISTANCE, Estimates
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest
from model.statistics.causes import MIN_ROWS, Causes, Part, causes
from model.statistics.estimation import Estimate, distance, intervals, true_scores, widened, window_moments

NOTE = (
    "What the scores of all predictions of this window should be, with or without labels, and the interval in which "
    "the true ones should lie 95 times of 100. The estimate knows the inputs of the window only: it takes the relation "
    "between inputs and labels to be that of training, so it cannot see concept drift. True scores are those of the "
    "labels that arrived in the window."
)
TITLES = {
    "accuracy": "Accuracy",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
}
NAME_OF = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error"}
"""What the value of a score is called where it is not the estimate's own name."""
METRIC = "EstimatedScore"
WHY_NOTE = (
    "How the score of the labels that arrived differs from that of the reference, and why. Changed inputs explain the "
    "difference of the estimates. The rest is a changed relation between inputs and labels: other labels for the same "
    "inputs, or a column that no longer means what it did. Each part has its 95 % interval. Features that move "
    "together share what they explain; what lies in how features come together belongs to none."
)
MAX_CAUSES = 10
"""Features of a failed window that are recorded."""
NAMED_CAUSES = 3
SMALLEST_SHARE = 0.1
"""Of the largest part, below which a feature is not named."""


class Estimator(NamedTuple):
    """What the estimates of a window come from, or why there are none; and the length of the window in seconds.

    `widening` says by how much the interval of each score is widened.
    """

    estimates: Estimates | None
    missing: str | None
    manifest: Manifest
    seconds: float
    widening: Mapping[str, float] = MappingProxyType({})

    def of(self, rows: pd.DataFrame) -> dict[str, Estimate]:
        """Return the estimates of some rows, their intervals as wide as past windows showed to be right."""
        return {name: self.widened(name, one) for name, one in self.by_training(rows).items()}

    def widened(self, name: str, one: Estimate) -> Estimate:
        """Return an estimate with its interval as wide as past windows showed to be right."""
        return widened(name, one, self.widening.get(name, 1.0))

    def by_training(self, rows: pd.DataFrame) -> dict[str, Estimate]:
        """Return the estimates of some rows, with intervals that know the rows of training alone."""
        if isinstance(self.manifest, ClassifierManifest) and self.manifest.concept_threshold is None:
            raise NotEnoughDataError(NO_PROBABILITIES)
        if self.estimates is None:
            raise NotEnoughDataError(self.missing or "the model has no estimates")
        return intervals([window_moments(rows, self.class_names, self.estimates)], self.estimates, self.seconds)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes, None for a regressor."""
        return self.manifest.class_names if isinstance(self.manifest, ClassifierManifest) else None


def estimated_performance(
    estimator: Estimator,
    current: pd.DataFrame,
    labelled: pd.DataFrame,
    scored: Section,
    *,
    min_rows: int,
    min_labels: int,
) -> Section:
    """Estimate the scores of the window's rows; `scored` is the section of the true ones, which are shown beside them.

    NotEnoughDataError below `min_rows` rows. With `min_labels` labels, it is also said whether the true scores of the
    rows that they belong to lie in the interval of these very rows.
    """
    found = estimator.of(current)
    require("rows", len(current), min_rows)
    section = Section("Estimated performance", NOTE)
    true = {value.name: value.value for value in scored.values if value.column is None}
    test = _on_test_set(estimator.manifest)
    held, distances = _settled(estimator, labelled) if len(labelled) >= max(min_labels, 1) else ({}, {})
    for name, one in found.items():
        for end, values in zip(("", "_low", "_high"), one, strict=True):
            section.record(f"estimated_{name}{end}", float(values[0]), METRIC, score=name, kind=f"estimate{end}")
        if (on_test := test[name]) is not None:
            section.draw(f"test_{name}", on_test, METRIC, score=name, kind="test set")
        if name in held:
            section.add_value("estimate_held", name, float(held[name]))
            section.draw("estimate_held", float(held[name]), "EstimateHeld", score=name)
            section.add_value(DISTANCE, name, distances[name])
    section.widgets.append(_table(found, true, test, held))
    return section


def _settled(estimator: Estimator, labelled: pd.DataFrame) -> tuple[dict[str, bool], dict[str, float]]:
    """Return whether each true score of labelled rows lies in its interval, and its distance, not widened."""
    rows = labelled[labelled[LABEL].notna() & labelled[PREDICTION].notna()]
    true = true_scores(rows, estimator.class_names)
    expected = estimator.by_training(rows) if true else {}
    known = {name: one for name, one in expected.items() if name in true}
    widest = {name: estimator.widened(name, one) for name, one in known.items()}
    held = {name: bool(one.low[0] <= true[name] <= one.high[0]) for name, one in widest.items()}
    return held, {name: distance(one, true[name]) for name, one in known.items()}


def _on_test_set(manifest: Manifest) -> dict[str, float | None]:
    quality = manifest.quality
    found = {name: getattr(quality, NAME_OF.get(name, name), None) for name in TITLES}
    if isinstance(manifest, ClassifierManifest) and len(manifest.classes) == 2:
        found["f1"] = manifest.quality.per_class[manifest.class_names[-1]].f1
    return found


def _table(
    found: Mapping[str, Estimate],
    true: Mapping[str, float],
    on_test: Mapping[str, float | None],
    held: Mapping[str, bool],
) -> BaseWidgetInfo:
    rows = []
    for name, one in found.items():
        form = written if name in NAME_OF else "{:.3f}".format
        labels, test = true.get(NAME_OF.get(name, name)), on_test.get(name)
        rows.append(
            [
                TITLES[name],
                form(one.value[0]),
                f"{form(one.low[0])} to {form(one.high[0])}",
                "" if labels is None else form(labels),
                {True: "yes", False: "no"}[held[name]] if name in held else "",
                "" if test is None else form(test),
            ]
        )
    columns = ["Score", "Estimate", "95 % interval", "True, labels that arrived", "As estimated for them", "Test set"]
    return table_data(title="Estimated and true scores", column_names=columns, data=rows)


def performance_change(
    estimator: Estimator, labelled: pd.DataFrame, reference: pd.DataFrame, sections: Sequence[Section], min_labels: int
) -> Section:
    """Say why the score of the labels differs from the reference, also in the failed checks of the sections.

    Without estimates, or with too few labels, the section is empty.
    """
    section = Section("Why performance changed", WHY_NOTE)
    if estimator.estimates is None or len(labelled) < max(min_labels, MIN_ROWS):
        return section
    found = causes(labelled, reference, estimator.manifest, estimator.estimates, estimator.seconds)
    if found is None:
        return section
    for name, part in (("change_by_inputs", found.inputs), ("change_by_relation", found.relation)):
        for end, value in zip(("", "_low", "_high"), part, strict=True):
            section.add_value(f"{name}{end}", None, value)
    failed = False
    for other in sections:
        for place, check in enumerate(other.failed_checks):
            if check.check in {"performance", "concept_drift"}:
                other.failed_checks[place] = replace(check, cause=cause_of(found))
                failed = True
    if failed:
        for feature, part in found.features[:MAX_CAUSES]:
            section.add_value("change_by_feature", feature, part.value)
    section.widgets.append(_causes_table(found))
    return section


def cause_of(found: Causes) -> str:
    """Return the causes in one sentence."""
    score = found.score.replace("_", " ")
    largest = max((abs(part.value) for _, part in found.features), default=0.0)
    named = [
        f"{shortened(name)} {_signed(part.value)}"
        for name, part in found.features[:NAMED_CAUSES]
        if abs(part.value) >= max(SMALLEST_SHARE * largest, 1e-12) and not part.low <= 0 <= part.high
    ]
    above_all = f", above all {', '.join(named)}" if named and not found.inputs.low <= 0 <= found.inputs.high else ""
    return (
        f"{score} {written(found.now)} in place of {written(found.usual)}: changed inputs explain "
        f"{_part(found.inputs)}{above_all}; a changed relation between inputs and labels {_part(found.relation)}"
    )


def _part(part: Part) -> str:
    return f"{_signed(part.value)} ({_signed(part.low)} to {_signed(part.high)})"


def _signed(value: float) -> str:
    return signed(float(f"{value:.2g}"))


def _causes_table(found: Causes) -> BaseWidgetInfo:
    shown = [(name, part) for name, part in found.features[:MAX_CAUSES] if part.value]
    rows = [
        ["Change in all", _signed(found.now - found.usual), ""],
        ["Changed relation", *_cells(found.relation)],
        ["Changed inputs", *_cells(found.inputs)],
        *([f"by {shortened(name)}", *_cells(part)] for name, part in shown),
    ]
    others = sum(part.value for _, part in found.features[len(shown) :]) + found.together
    rows.append(["by other features, and how features come together", _signed(others), ""])
    title = (
        f"{found.score.replace('_', ' ').capitalize()}: {written(found.now)}, on the reference {written(found.usual)}"
    )
    return table_data(title=title, column_names=["Part", "Change", "95 % interval"], data=rows)


def _cells(part: Part) -> list[str]:
    return [_signed(part.value), f"{_signed(part.low)} to {_signed(part.high)}"]
