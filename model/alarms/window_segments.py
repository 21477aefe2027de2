"""The segments of many windows: cut in time, as the log keeps them, and as statistics that alarms learn from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from model.artifact.estimates import Estimates
from model.artifact.manifest import PREDICTION, DriftMethod, Manifest, RegressorManifest
from model.statistics.bounds import summary_of
from model.statistics.segments import (
    REST,
    DividedColumn,
    Mask,
    SegmentFrames,
    SegmentScores,
    divide,
    divide_columns,
    divided_by,
    expectations,
    row_scores,
    score_segment,
    scores_of,
    segment_label,
    segment_score,
)
from model.statistics.windows import Numbers, WindowedRows

MAX_LEARNED = 100
"""Segments of which thresholds are learned: those that most windows have. A column may have any number of values."""

Segments = tuple[tuple[SegmentScores, ...], ...]
"""The segments of each window."""


def measure_segments(
    predicted: WindowedRows,
    labelled: WindowedRows,
    reference: pd.DataFrame,
    columns: Mapping[str, str],
    class_names: Sequence[str] | None,
    *,
    method: DriftMethod | None,
    estimates: Estimates | None,
) -> Segments:
    """Return the scores of the segments of some windows, as `segments_of` and `score_segment` do of one.

    `columns` are those of `divided_by`. Without a `method` neither drift nor the reference is looked at.
    """
    if not columns:
        return ()
    reference = reference if method is not None else reference.head(0)
    scores = scores_of(labelled.rows, numbers=class_names is None)
    known = scores_of(reference, numbers=class_names is None)
    estimated = expectations(predicted.rows, class_names, estimates)
    divided = divide_columns(columns, (predicted.rows, labelled.rows, reference))
    found = []
    for here, there in zip(predicted.places, labelled.places, strict=True):
        answers = (predicted.rows[PREDICTION].iloc[here], reference[PREDICTION])
        frames = SegmentFrames(*answers, scores[there], known, estimated[here], method)
        taken: set[str] = set()
        parts = (
            divide(column, column.codes[0][here], column.codes[1][there], column.codes[2], taken) for column in divided
        )
        found.append(tuple(score_segment(one, frames) for part in parts for one in part))
    return tuple(found)


def segments_of_log(
    values: Sequence[Mapping[tuple[str, str | None], float]],
    labels: Sequence[int],
    manifest: Manifest,
    reference: pd.DataFrame | None,
) -> Segments:
    """Return the segments of measured windows from the values that the log keeps of them; `labels` are the windows'.

    With the reference they say what is usual of each segment, too.
    """
    if not manifest.segments:
        return ()
    usual = None if reference is None else _Usual(reference, manifest)
    score = segment_score(numbers=isinstance(manifest, RegressorManifest))
    found = []
    for window, of_window in zip(values, labels, strict=True):
        segments = {column: rows for (name, column), rows in window.items() if name == "segment_rows" and column}
        every = sum(segments.values()) / max(1, len(manifest.segments))
        scored = []
        for label, rows in segments.items():
            # older logs have no number of labels: as many of all as of the rows
            few = window.get(("segment_labels", label), of_window * rows / max(every, 1))
            value = window.get((score, label), np.nan)
            one = SegmentScores(
                "", label, "", int(rows), round(few), value, np.nan, np.nan, summary_of(np.empty(0)), False
            )
            scored.append(one if usual is None else usual.added(one, segments))
        found.append(tuple(scored))
    return tuple(found)


class _Usual:
    """What the reference says of segments, by their names."""

    def __init__(self, reference: pd.DataFrame, manifest: Manifest) -> None:
        scores = row_scores(reference, manifest)
        self._known = np.isfinite(scores)
        self._scores = scores
        self._columns = divide_columns(divided_by(manifest.segments, manifest.feature_names), [reference])

    def added(self, one: SegmentScores, segments: Iterable[str]) -> SegmentScores:
        """Return the segment with its scores in the reference, and whether that has the column at all."""
        for column in self._columns:
            if (rows := _rows_of(one.label, column, segments)) is not None:
                return one._replace(
                    column=column.name, usual=summary_of(self._scores[rows & self._known]), compared=column.is_compared
                )
        return one


def _rows_of(label: str, column: DividedColumn, labels: Iterable[str]) -> Mask | None:
    """Return which rows of the last frame a segment of that name has, None where it is none of this column.

    `labels` are the names of all segments of its window: what is none of them is the rest.
    """
    if not label.startswith(column.name):
        return None
    codes, of_value = (
        column.codes[-1],
        {segment_label(column.name, value, set()): code for code, value in enumerate(column.values)},
    )
    if label in of_value:
        return np.asarray(codes == of_value[label])
    if label == segment_label(column.name, REST, set()):
        named = [of_value[one] for one in labels if one in of_value]
        return np.asarray(~np.isin(codes, named))
    return np.zeros(len(codes), dtype=bool) if label.removeprefix(column.name)[:1] in {"=", " "} else None


def segment_histories(segments: Segments, *, least: int, numbers: bool) -> dict[tuple[str, str], Numbers]:
    """Return the score of each segment in all windows, (windows,), NaN where it has none, by its name and its label.

    Segments with fewer than `least` scores are left out, and those beyond MAX_LEARNED, the rarest ones.
    """
    name = segment_score(numbers=numbers)
    scored = [{one.label: one.score for one in window if np.isfinite(one.score)} for window in segments]
    counts = Counter(label for window in scored for label in window)
    kept = sorted((label for label, count in counts.items() if count >= least), key=lambda one: (-counts[one], one))
    return {(name, label): np.array([window.get(label, np.nan) for window in scored]) for label in kept[:MAX_LEARNED]}
