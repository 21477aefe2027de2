"""The scores of a model of numbers: their names, their table, and their values on the test set."""

import math
from typing import NamedTuple

from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from model.manifest import RegressorManifest

MEAN_ABSOLUTE_ERROR = "mean_absolute_error"
PERCENTAGE_ERROR = "mean_absolute_percentage_error"
SCORE_TITLES = {
    MEAN_ABSOLUTE_ERROR: "Mean absolute error",
    "root_mean_squared_error": "Root mean squared error",
    "mean_error": "Mean error (bias)",
    "largest_absolute_error": "Largest absolute error",
    "r2": "R2 (share of the variance explained)",
    PERCENTAGE_ERROR: "Mean absolute percentage error",
}
WITHOUT_UNIT = ("r2", PERCENTAGE_ERROR)


class NumberScore(NamedTuple):
    """One score in the window, on the test set (if known) and on the reference; `highest`: fails above."""

    name: str
    window: float
    test: float | None
    reference: float
    highest: float | None


def test_scores(manifest: RegressorManifest) -> dict[str, float | None]:
    """Return the scores on the test set by name."""
    return {name: getattr(manifest.quality, name) for name in SCORE_TITLES if hasattr(manifest.quality, name)}


def scores_table(scores: list[NumberScore], manifest: RegressorManifest) -> BaseWidgetInfo:
    """Return the table of scores; NaN shows as "not defined"."""
    unit = f", {manifest.label_range.unit}" if manifest.label_range.unit else ""
    return table_data(
        title="Scores",
        column_names=["Score", "Window", "Test set", "Reference", "Fails"],
        data=[
            [
                SCORE_TITLES[score.name] + ("" if score.name in WITHOUT_UNIT else unit),
                _shown(score.name, score.window),
                "" if score.test is None else _shown(score.name, score.test),
                _shown(score.name, score.reference),
                "" if score.highest is None else f"above {_shown(score.name, score.highest)}",
            ]
            for score in scores
        ],
    )


def _shown(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.4g} %" if name == PERCENTAGE_ERROR else f"{value:.4g}"
