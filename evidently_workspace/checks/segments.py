"""Segments: performance and drift by the values of columns, the weakest segments, and fairness between values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.frames import shortened
from evidently_workspace.panels import written
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section
from model.artifact.estimates import Estimates
from model.artifact.manifest import ClassifierManifest, Manifest, RegressorManifest
from model.artifact.traffic import WindowTraffic
from model.statistics.segments import (
    MIN_ROWS,
    NO_BOUND,
    Fairness,
    SegmentBound,
    SegmentFrames,
    SegmentScores,
    fairness,
    is_worse,
    score_segment,
    segment_bounds,
    segment_frames,
    segments_of,
)
from model.statistics.weakest import weakest_segments

NOTE = (
    "The rows of the window by the values of the columns that the schema names: the ten largest values, and the rest. "
    f"Segments with fewer than {MIN_ROWS} rows or labels have no figures. The weakest ones come first."
)
WEAKEST_NOTE = (
    "The weakest segments were found by a tree on half of the labels that arrived; their figures, with 95 % intervals, "
    "are those of the other half."
)


class WindowRows(NamedTuple):
    """The rows of a window, those whose label arrived, and the reference."""

    current: pd.DataFrame
    labelled: pd.DataFrame
    reference: pd.DataFrame


def segments(
    rows: WindowRows, manifest: Manifest, estimates: Estimates | None, min_labels: int, traffic: WindowTraffic
) -> Section:
    """Measure each segment, find the weakest ones, and compare the rates of values.

    A segment fails `performance` where its score is beyond that of `segment_bounds`, in a window with `min_labels`
    labels.
    """
    section = Section("Segments", NOTE if manifest.segments else "")
    frames = segment_frames(*rows, manifest, estimates)
    columns = [[score_segment(one, frames) for one in found] for found in segments_of(*rows, manifest) if found]
    scored = [one for column in columns for one in column]
    bounds = [NO_BOUND] * len(scored)
    if len(rows.labelled) >= max(min_labels, 1):
        bounds = segment_bounds(scored, len(rows.labelled), frames.reference_scores, manifest, traffic)
    bound_of = {one.label: bound for one, bound in zip(scored, bounds, strict=True)}
    for column in columns:
        if not column[0].compared:
            section.not_computed.append(
                f"{column[0].column}: the reference lacks this column, so its segments have no drift and no alarm"
            )
        for one in column:
            _add(section, one, bound_of[one.label], manifest)
        section.widgets.append(_table(column, [bound_of[one.label] for one in column], manifest))
    _add_weakest(section, rows, frames, manifest)
    if isinstance(manifest, ClassifierManifest):
        for name in manifest.fairness:
            _add_fairness(section, fairness(name, rows.current, rows.labelled, manifest))
    return section


def _add(section: Section, one: SegmentScores, bound: SegmentBound, manifest: Manifest) -> None:
    numbers = isinstance(manifest, RegressorManifest)
    for name, value in one.values(numbers=numbers).items():
        section.add_value(name, one.label, value)
    if is_worse(one, bound, numbers=numbers):
        section.failed_checks.append(FailedCheck("performance", one.label, one.score, bound.limit, "segment"))


def _table(scored: Sequence[SegmentScores], bounds: Sequence[SegmentBound], manifest: Manifest) -> BaseWidgetInfo:
    is_accuracy = isinstance(manifest, ClassifierManifest)
    score = "Accuracy" if is_accuracy else "Mean absolute error"
    form, side = (".3f", "below") if is_accuracy else ("", "above")

    def weakness(pair: tuple[SegmentScores, SegmentBound]) -> tuple[bool, float]:
        value = pair[0].score if np.isfinite(pair[0].score) else pair[0].estimated
        return not np.isfinite(value), value if is_accuracy else -value

    data = [
        [
            shortened(one.shown),
            f"{one.rows:,}",
            f"{one.labels:,}",
            _shown(one.score, form),
            _shown(bound.usual, form),
            f"{side} {_shown(bound.limit, form)}" if np.isfinite(bound.limit) else "",
            _shown(one.estimated, form),
            _shown(one.drift, ".3f"),
        ]
        for one, bound in sorted(zip(scored, bounds, strict=True), key=weakness)
    ]
    header = ["Segment", "Rows", "Labels", score, f"{score}, reference", "Fails", f"{score}, estimated"]
    title = f"By {shortened(scored[0].column)}"
    return table_data(title=title, column_names=[*header, "Prediction drift"], data=data)


def _shown(value: float, form: str) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:{form}}" if form else written(value)


def _add_weakest(section: Section, rows: WindowRows, frames: SegmentFrames, manifest: Manifest) -> None:
    found = weakest_segments(rows.labelled, frames.scores, manifest)
    if not found:
        return
    name = "weakest_segment_error" if isinstance(manifest, RegressorManifest) else "weakest_segment_accuracy"
    section.add_value(name, None, found[0].score)
    section.note = f"{section.note} {WEAKEST_NOTE}"
    data = [[one.sentence()] for one in found]
    section.widgets.append(table_data(title="Weakest segments", column_names=["Segment"], data=data))


def _add_fairness(section: Section, found: Fairness) -> None:
    section.add_value("demographic_parity_difference", found.column, found.demographic_parity)
    section.add_value("equalized_odds_difference", found.column, found.equalized_odds)
    column = shortened(found.column)
    if not np.isfinite(found.demographic_parity) and not np.isfinite(found.equalized_odds):
        section.not_computed.append(f"fairness by {column}: fewer than two values have {MIN_ROWS} rows or labels")
        return
    data = [
        [shortened(value), f"{rows:,}", *(_shown(rate, ".3f") for rate in rates)]
        for value, (rows, *rates) in sorted(found.groups.items(), key=lambda one: -one[1][0])
    ][:MIN_ROWS]
    differences = (
        f"demographic parity difference {_shown(found.demographic_parity, '.3f') or 'unknown'}, "
        f"equalised odds difference {_shown(found.equalized_odds, '.3f') or 'unknown'}"
    )
    header = ["Value", "Rows", "Selection rate", "True positive rate", "False positive rate"]
    section.widgets.append(table_data(title=f"Fairness by {column}: {differences}", column_names=header, data=data))
