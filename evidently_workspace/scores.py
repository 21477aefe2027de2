"""The scores of a window beside those of the test set and of the reference, as a table."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from evidently.core.metric_types import MeanStdValue, Metric, SingleValue
from evidently.core.report import Snapshot
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.section import LEARNING, Section, finite, reference_result_of, result_of
from model.artifact.traffic import WindowTraffic


class Score(NamedTuple):
    """One score in the window, on the test set (if known) and on the reference; it fails beyond its bound."""

    name: str
    window: float
    test: float | None
    reference: float
    bound: float | None = None
    usual: str = ""
    learning: bool = False

    def judged(self, bound: float, traffic: WindowTraffic, form: str) -> "Score":
        """Return the score with its bound in this traffic, and with what is usual in it, written in this form."""
        usual = traffic.usual(self.name, None)
        shown = "" if usual is None else usual.shown(form)
        return self._replace(bound=bound, usual=shown, learning=traffic.is_learning(self.name, None))


def add_scores(
    section: Section, snapshot: Snapshot, metrics: Mapping[str, Metric], on_test: Mapping[str, float | None]
) -> list[Score]:
    """Add the scores of a report that are defined to the section, and return all of them.

    `metrics` of the report and `on_test`, the scores on the test set, are by name.
    """
    scores = []
    for name, metric in metrics.items():
        result = _single(result_of(snapshot, metric))
        reference = _single(reference_result_of(snapshot, metric))
        scores.append(Score(name, float(result.value), on_test.get(name), float(reference.value)))
        if finite(result) is None:
            section.not_computed.append(f"{name}: not defined for the labels of this window")
        else:
            section.add_value(name, None, result.value)
            section.add_result(result)
    return scores


def _single(result: SingleValue | MeanStdValue) -> SingleValue:
    """Return the value alone where Evidently adds a standard deviation, which a single row does not have."""
    if not isinstance(result, MeanStdValue):
        return result
    single = result.mean
    single.tests = result.tests
    return single


def scores_table(
    scores: list[Score],
    title_of: Callable[[str], str],
    shown: Callable[[str, float], str],
    fails: Literal["above", "below"],
) -> BaseWidgetInfo:
    """Return the table of scores; `title_of` names a score, `shown` writes its value, `fails` is the wrong side."""

    def cell(score: Score, value: float | None) -> str:
        if value is None:
            return ""
        return shown(score.name, value) if math.isfinite(value) else "not defined"

    def fails_at(score: Score) -> str:
        if score.bound is None:
            return ""
        return f"{fails} {cell(score, score.bound)}" + (f" ({LEARNING})" if score.learning else "")

    with_usual = any(score.usual for score in scores)
    return table_data(
        title="Scores",
        column_names=["Score", "Window", *(["Usual"] if with_usual else []), "Test set", "Reference", "Fails"],
        data=[
            [
                title_of(score.name),
                cell(score, score.window),
                *([score.usual] if with_usual else []),
                *(cell(score, value) for value in (score.test, score.reference)),
                fails_at(score),
            ]
            for score in scores
        ],
    )
