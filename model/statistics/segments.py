"""Segments: the rows of a window that share a value of a column, and how the model does on each."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimates import Estimates, NumberEstimates
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, DriftMethod, Manifest
from model.artifact.traffic import WindowTraffic
from model.data.cells import MAX_LABEL, SEGMENT_PREFIX
from model.statistics.bounds import (
    ScoreSummary,
    highest_mean_absolute_error,
    lowest_accuracy,
    segment_bound,
    summary_of,
)
from model.statistics.drift import build_statistic
from model.statistics.estimation import answered, calibrated_chances, expected_errors
from model.statistics.windows import Numbers, single_window

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

MAX_VALUES = 10
"""Values of a column that are segments of their own; all others together are the rest."""
MIN_ROWS = 30
"""With fewer rows, or labels, a segment has no figure but its number of rows."""


class Segment(NamedTuple):
    """One segment of a column: its name in values and checks, its value as people read it, and its rows.

    `current`, `labelled` and `reference` (rows,) say which rows of these frames it has. `compared` says whether the
    reference has the values of the column at all.
    """

    column: str
    label: str
    shown: str
    current: Mask
    labelled: Mask
    reference: Mask
    compared: bool


class SegmentScores(NamedTuple):
    """How the model does on a segment, NaN where too few rows or labels say it.

    `score` is the accuracy, or the mean absolute error, of the labels that arrived, `estimated` the same as it should
    be on all rows, `drift` the distance of the predictions from those of the same segment of the reference, `usual`
    what the reference says of the score.
    """

    column: str
    label: str
    shown: str
    rows: int
    labels: int
    score: float
    estimated: float
    drift: float
    usual: ScoreSummary
    compared: bool

    def values(self, *, numbers: bool) -> dict[str, float]:
        """Return the values that a window has of the segment, by their names; `numbers` is whether one is predicted."""
        return {
            "segment_rows": self.rows,
            "segment_labels": self.labels,
            segment_score(numbers=numbers): self.score,
            "segment_estimated_mae" if numbers else "segment_estimated_accuracy": self.estimated,
            "segment_drift": self.drift,
        }


def segment_score(*, numbers: bool) -> str:
    """Return the name of the score of a segment among the values of a window."""
    return "segment_mean_absolute_error" if numbers else "segment_accuracy"


def divided_by(names: Sequence[str], features: Sequence[str]) -> dict[str, str]:
    """Return the columns of frames that hold the columns by which rows are divided: features, or metadata."""
    return {name: name if name in features else f"{SEGMENT_PREFIX}{name}" for name in names}


def metadata_columns(manifest: Manifest) -> dict[str, str]:
    """Return the metadata by which rows are divided, and the columns of frames that hold it."""
    features = set(manifest.feature_names)
    names = [name for name in (*manifest.segments, *manifest.fairness) if name not in features]
    return divided_by(names, ())


def column_of(rows: pd.DataFrame, name: str, manifest: Manifest) -> pd.Series:
    """Return the values by which rows are divided, text or missing; all are missing where the rows lack them."""
    return _values_of(rows, divided_by([name], manifest.feature_names)[name])


def _values_of(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows.get(column, pd.Series(None, index=rows.index, dtype=object))


class DividedColumn(NamedTuple):
    """A column by which rows are divided: its values in order, and which of them each row has, (rows,) of each frame.

    Values have "=" before them, so that none is taken for a missing one.
    """

    name: str
    values: list[str]
    codes: tuple[Codes, ...]

    @property
    def is_compared(self) -> bool:
        """Whether the last of the frames, the reference, has the values of the column at all."""
        return any(self.values[code] != _MISSING for code in np.unique(self.codes[-1]))


def divide_columns(columns: Mapping[str, str], frames: Sequence[pd.DataFrame]) -> list[DividedColumn]:
    """Return the columns by which the rows of some frames are divided; see `divided_by`."""
    ends, found = np.cumsum([len(frame) for frame in frames])[:-1], []
    for name, column in columns.items():
        every = pd.concat([_values_of(frame, column).astype("string") for frame in frames], ignore_index=True)
        codes, values = pd.factorize(("=" + every).fillna(_MISSING).astype(object), sort=True)
        found.append(DividedColumn(name, [str(value) for value in values], tuple(np.split(codes, ends))))
    return found


def segments_of(
    current: pd.DataFrame, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest
) -> Iterator[list[Segment]]:
    """Yield the segments of each column of a window; see `divide`."""
    taken: set[str] = set()
    for column in divide_columns(divided_by(manifest.segments, manifest.feature_names), (current, labelled, reference)):
        now, known, before = column.codes
        yield divide(column, now, known, before, taken)


def divide(column: DividedColumn, current: Codes, labelled: Codes, reference: Codes, taken: set[str]) -> list[Segment]:
    """Return the segments of a window: the largest values, missing ones as one of them, and the rest.

    A value is as large as it is among the rows or among the labels of the window, where it has more. `taken` are the
    names of segments so far.
    """
    parts, values = (current, labelled, reference), column.values
    sizes = np.max([np.bincount(part, minlength=len(values)) for part in parts[:2]], axis=0)
    there = np.flatnonzero(sizes)
    order = there[np.lexsort((there, -sizes[there]))]
    largest, rest = order[:MAX_VALUES], order[MAX_VALUES:]
    compared, found = column.is_compared, []
    for code in largest:
        value = values[code]
        shown = "missing" if value == _MISSING else value.removeprefix("=")
        now, known, before = (part == code for part in parts)
        label = segment_label(column.name, value, taken)
        found.append(Segment(column.name, label, shown, now, known, before, compared))
    if len(rest):
        is_large = np.zeros(len(values), dtype=bool)
        is_large[largest] = True
        label, shown = segment_label(column.name, REST, taken), f"the rest ({len(rest):,} values)"
        now, known, before = (~is_large[part] for part in parts)
        found.append(Segment(column.name, label, shown, now, known, before, compared))
    return found


_MISSING, REST = " (missing)", " (the rest)"


def segment_label(column: str, value: str, taken: set[str]) -> str:
    """Return the name of a segment, as any database takes it: printable, not too long, and no other one's."""
    whole = f"{column}{value}"
    label = "".join(one if one.isprintable() else "\ufffd" for one in whole)
    if len(label) > MAX_LABEL or label != whole or label in taken:
        digest = hashlib.sha256(f"{len(column)}:{whole}".encode(errors="surrogatepass")).hexdigest()[:8]
        label = f"{label[: MAX_LABEL - 10]}… {digest}"
    taken.add(label)
    return label


def score_segment(segment: Segment, frames: "SegmentFrames") -> SegmentScores:
    """Return the figures of one segment."""
    scores, known = frames.scores[segment.labelled], frames.reference_scores[segment.reference]
    scores = scores[np.isfinite(scores)]
    estimated = frames.estimated[segment.current]
    estimated = estimated[np.isfinite(estimated)]
    return SegmentScores(
        segment.column,
        segment.label,
        segment.shown,
        int(segment.current.sum()),
        len(scores),
        float(scores.mean()) if len(scores) >= MIN_ROWS else np.nan,
        float(estimated.mean()) if len(estimated) >= MIN_ROWS else np.nan,
        _prediction_drift(segment, frames),
        summary_of(known[np.isfinite(known)]),
        segment.compared,
    )


def _prediction_drift(segment: Segment, frames: "SegmentFrames") -> float:
    if frames.method is None or min(segment.current.sum(), segment.reference.sum()) < MIN_ROWS:
        return np.nan
    now = frames.current[segment.current].dropna()
    before = frames.reference[segment.reference].dropna()
    if min(len(now), len(before)) < MIN_ROWS:
        return np.nan
    return float(build_statistic(frames.method, before, now).distances(single_window(len(now)))[0])


class SegmentFrames(NamedTuple):
    """The predictions of a window and of the reference, and what each row counts, NaN where that is not known.

    `scores` and `reference_scores` are those of `row_scores`, `estimated` is what is expected of the current rows.
    Without a `method` there is no drift.
    """

    current: pd.Series
    reference: pd.Series
    scores: Numbers
    reference_scores: Numbers
    estimated: Numbers
    method: DriftMethod | None


def segment_frames(
    current: pd.DataFrame,
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    estimates: Estimates | None,
) -> SegmentFrames:
    """Return what the segments of a window are scored by."""
    scores, known = row_scores(labelled, manifest), row_scores(reference, manifest)
    expected = expected_scores(current, manifest, estimates)
    method = manifest.threshold(PREDICTION).method if manifest.segments else None
    return SegmentFrames(current[PREDICTION], reference[PREDICTION], scores, known, expected, method)


class SegmentBound(NamedTuple):
    """The usual score of a segment, and the one beyond which it fails; NaN where it is not judged."""

    usual: float
    limit: float


NO_BOUND = SegmentBound(np.nan, np.nan)


def segment_bounds(
    scored: Sequence[SegmentScores],
    labels: int,
    reference_scores: Numbers,
    manifest: Manifest,
    traffic: WindowTraffic,
) -> list[SegmentBound]:
    """Return from where on each segment of a window fails; `labels` is the number of labels of the window.

    A segment fails where its score is worse than its own on the reference by more than `segment_bound`, and than this
    traffic lets it be: by the threshold of the segment, where its history is known, else as far as the score of all
    rows strays in this traffic beyond chance.
    """
    if not scored:
        return []
    known = reference_scores[np.isfinite(reference_scores)]
    numbers, of_all = not isinstance(manifest, ClassifierManifest), summary_of(known)
    enough = sum(bool(np.isfinite(one.score)) for one in scored)
    allowance = _allowance(labels, known, manifest, traffic)
    found, name = [], segment_score(numbers=numbers)
    for one in scored:
        if not np.isfinite(one.score) or not one.compared:
            found.append(NO_BOUND)
            continue
        usual, limit = segment_bound(one.labels, one.usual, of_all, manifest, enough)
        if traffic.knows(name, one.label):
            found.append(SegmentBound(usual, traffic.limit(name, one.label, limit)))
        else:
            found.append(SegmentBound(usual, limit + allowance if numbers else limit - allowance))
    return found


def _allowance(labels: int, known: Numbers, manifest: Manifest, traffic: WindowTraffic) -> float:
    """Return by how much the score of all rows may be worse in this traffic than chance alone would let it be."""
    if isinstance(manifest, ClassifierManifest):
        limit = lowest_accuracy(labels, known == 1, manifest)
        return limit - traffic.limit("accuracy", None, limit)
    limit = highest_mean_absolute_error(labels, known, manifest)
    return traffic.limit("mean_absolute_error", None, limit) - limit


def is_worse(one: SegmentScores, bound: SegmentBound, *, numbers: bool) -> bool:
    """Whether a segment fails."""
    return one.score > bound.limit if numbers else one.score < bound.limit


def row_scores(rows: pd.DataFrame, manifest: Manifest) -> Numbers:
    """Return 1 for a right prediction and 0 for a wrong one, or the absolute error, (rows,); NaN without a label."""
    return scores_of(rows, numbers=not isinstance(manifest, ClassifierManifest))


def scores_of(rows: pd.DataFrame, *, numbers: bool) -> Numbers:
    """Return the same, of classes or of `numbers`."""
    if LABEL not in rows:
        return np.full(len(rows), np.nan)
    if numbers:
        return np.asarray(np.abs(rows[PREDICTION].to_numpy("float64") - rows[LABEL].to_numpy("float64")))
    known = (rows[LABEL].notna() & rows[PREDICTION].notna()).to_numpy()
    return np.where(known, (rows[LABEL] == rows[PREDICTION]).to_numpy(dtype=np.float64), np.nan)


def expected_scores(rows: pd.DataFrame, manifest: Manifest, estimates: Estimates | None) -> Numbers:
    """Return the chance that each prediction is right, or its expected absolute error, (rows,); NaN if not known."""
    return expectations(rows, manifest.class_names if isinstance(manifest, ClassifierManifest) else None, estimates)


def expectations(rows: pd.DataFrame, class_names: Sequence[str] | None, estimates: Estimates | None) -> Numbers:
    """Return the same, of these classes, or of numbers where there are none."""
    expected = np.full(len(rows), np.nan)
    if estimates is None or not len(rows) or (class_names is None) != isinstance(estimates, NumberEstimates):
        return expected
    if isinstance(estimates, NumberEstimates):
        known = rows[PREDICTION].notna().to_numpy()
        if known.any():
            expected[known] = expected_errors(rows[known], estimates)[0]
    elif class_names is not None:
        probabilities, answers, kept = answered(rows, tuple(class_names))
        if len(answers):
            expected[kept] = calibrated_chances(probabilities, estimates)[np.arange(len(answers)), answers]
    return expected


class Fairness(NamedTuple):
    """How a column's values differ in the rates of one class, NaN where fewer than two values have enough rows.

    `groups` are the rates by value: rows, share predicted as the class, true and false positive rate.
    """

    column: str
    demographic_parity: float
    equalized_odds: float
    groups: Mapping[str, tuple[int, float, float, float]]


def fairness(name: str, current: pd.DataFrame, labelled: pd.DataFrame, manifest: ClassifierManifest) -> Fairness:
    """Return the differences between the values of a column, as fairlearn defines them.

    Demographic parity: the largest minus the smallest share of rows predicted as a class. Equalised odds: the larger of
    the differences of the true positive rates and of the false positive rates. Of two classes the last is the positive
    one; of more, it is the class with the largest difference against the rest. Values with fewer than MIN_ROWS rows
    (labels) are left out, and so are missing ones; a rate without any row to count is none.
    """
    positive = manifest.class_names[-1:] if len(manifest.class_names) == 2 else manifest.class_names
    labelled = labelled[labelled[LABEL].notna() & labelled[PREDICTION].notna()]
    current = current[current[PREDICTION].notna()]
    of_rows = _groups(column_of(current, name, manifest))
    of_labels = _groups(column_of(labelled, name, manifest))
    best = Fairness(name, np.nan, np.nan, {})
    for one in positive:
        selected = {value: _share(current[PREDICTION][mask] == one) for value, mask in of_rows.items()}
        odds = {value: _odds(labelled[mask], one) for value, mask in of_labels.items()}
        parity = _difference(list(selected.values()))
        true, false = (_difference([rates[place] for rates in odds.values()]) for place in (0, 1))
        unequal = float(np.fmax(true, false))
        if not best.groups or np.fmax(parity, -1) > np.fmax(best.demographic_parity, -1):
            rates = {value: (int(of_rows[value].sum()), selected[value]) for value in selected}
            nothing = (np.nan, np.nan)
            best = best._replace(
                groups={value: (*rates.get(value, (0, np.nan)), *odds.get(value, nothing)) for value in rates | odds}
            )
        best = best._replace(
            demographic_parity=float(np.fmax(best.demographic_parity, parity)),
            equalized_odds=float(np.fmax(best.equalized_odds, unequal)),
        )
    return best


def _groups(column: pd.Series) -> dict[str, Mask]:
    counts = column.value_counts()
    return {str(value): np.asarray(column == value) for value in counts.index[counts >= MIN_ROWS]}


def _odds(rows: pd.DataFrame, positive: str) -> tuple[float, float]:
    """Return the true and the false positive rate."""
    actual, predicted = rows[LABEL] == positive, rows[PREDICTION] == positive
    return _share(predicted[actual]), _share(predicted[~actual])


def _share(of: "pd.Series[bool]") -> float:
    return float(of.mean()) if len(of) else np.nan


def _difference(rates: list[float]) -> float:
    known = [rate for rate in rates if np.isfinite(rate)]
    return max(known) - min(known) if len(known) > 1 else np.nan
