"""Estimated performance: how well the model should do on all rows of the window, labels or not."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.results import NO_PROBABILITIES
from evidently_workspace.section import NotEnoughDataError, Section, require
from model.artifact.estimates import Estimates
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest
from model.statistics.estimation import Estimate, intervals, true_scores, window_moments

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


class Estimator(NamedTuple):
    """What the estimates of a window come from, or why there are none; and the length of the window in seconds."""

    estimates: Estimates | None
    missing: str | None
    manifest: Manifest
    seconds: float

    def of(self, rows: pd.DataFrame) -> dict[str, Estimate]:
        """Return the estimates of some rows."""
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
    held = _held(estimator, labelled) if len(labelled) >= max(min_labels, 1) else {}
    for name, one in found.items():
        for end, values in zip(("", "_low", "_high"), one, strict=True):
            section.record(f"estimated_{name}{end}", float(values[0]), METRIC, score=name, kind=f"estimate{end}")
        if (on_test := test[name]) is not None:
            section.draw(f"test_{name}", on_test, METRIC, score=name, kind="test set")
        if name in held:
            section.add_value("estimate_held", name, float(held[name]))
            section.draw("estimate_held", float(held[name]), "EstimateHeld", score=name)
    section.widgets.append(_table(found, true, test, held))
    return section


def _held(estimator: Estimator, labelled: pd.DataFrame) -> dict[str, bool]:
    """Return whether each true score of labelled rows lies in the interval that is estimated for them."""
    rows = labelled[labelled[LABEL].notna() & labelled[PREDICTION].notna()]
    true = true_scores(rows, estimator.class_names)
    expected = estimator.of(rows) if true else {}
    return {name: bool(one.low[0] <= true[name] <= one.high[0]) for name, one in expected.items() if name in true}


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
        form = ".4g" if name in NAME_OF else ".3f"
        labels, test = true.get(NAME_OF.get(name, name)), on_test.get(name)
        rows.append(
            [
                TITLES[name],
                f"{one.value[0]:{form}}",
                f"{one.low[0]:{form}} to {one.high[0]:{form}}",
                "" if labels is None else f"{labels:{form}}",
                {True: "yes", False: "no"}[held[name]] if name in held else "",
                "" if test is None else f"{test:{form}}",
            ]
        )
    columns = ["Score", "Estimate", "95 % interval", "True, labels that arrived", "As estimated for them", "Test set"]
    return table_data(title="Estimated and true scores", column_names=columns, data=rows)
