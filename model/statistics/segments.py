"""Segments: the rows of a window that share a value of a column, and how the model does on each."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.estimates import Estimates, NumberEstimates
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest
from model.data.cells import SEGMENT_PREFIX
from model.statistics.drift import build_statistic
from model.statistics.estimation import answered, calibrated_chances, expected_errors
from model.statistics.windows import Numbers, single_window

Mask = npt.NDArray[np.bool_]

MAX_VALUES = 10
"""Values of a column that are segments of their own; all others together are the rest."""
MIN_ROWS = 30
"""With fewer rows, or labels, a segment has no figure but its number of rows."""
MAX_LABEL = 200
"""Characters of a segment's name in the log, where longer ones are cut."""


class Segment(NamedTuple):
    """One segment of a column: its name in values and checks, its value as people read it, and its rows.

    `current`, `labelled` and `reference` (rows,) say which rows of these frames it has.
    """

    column: str
    label: str
    shown: str
    current: Mask
    labelled: Mask
    reference: Mask


class SegmentScores(NamedTuple):
    """How the model does on a segment, NaN where too few rows or labels say it.

    `score` is the accuracy, or the mean absolute error, of the labels that arrived, `estimated` the same as it should
    be on all rows, `drift` the distance of the predictions from those of the same segment of the reference.
    """

    segment: Segment
    rows: int
    labels: int
    score: float
    estimated: float
    drift: float


def metadata_columns(manifest: Manifest) -> dict[str, str]:
    """Return the metadata by which rows are divided, and the columns of frames that hold it."""
    features = set(manifest.feature_names)
    names = dict.fromkeys([*manifest.segments, *manifest.fairness])
    return {name: f"{SEGMENT_PREFIX}{name}" for name in names if name not in features}


def column_of(rows: pd.DataFrame, name: str, manifest: Manifest) -> pd.Series:
    """Return the values by which rows are divided, text or missing; all are missing where the rows lack them."""
    column = metadata_columns(manifest).get(name, name)
    return rows.get(column, pd.Series(None, index=rows.index, dtype=object))


def segments_of(
    current: pd.DataFrame, labelled: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest
) -> Iterator[list[Segment]]:
    """Yield the segments of each column: the largest values, missing ones as one of them, and the rest.

    A value is as large as it is among the rows or among the labels of the window, where it has more.
    """
    taken: set[str] = set()
    for name in manifest.segments:
        parts = [_codes(column_of(rows, name, manifest)) for rows in (current, labelled, reference)]
        counts = pd.DataFrame({place: part.value_counts() for place, part in enumerate(parts[:2])}).max(axis=1)
        order = sorted(counts.index, key=lambda value: (-counts[value], value))
        largest, rest = order[:MAX_VALUES], order[MAX_VALUES:]
        found = []
        for value in largest:
            masks = [np.asarray(part == value) for part in parts]
            shown = "missing" if value == _MISSING else value.removeprefix("=")
            found.append(Segment(name, _label(name, value, taken), shown, *masks))
        if rest:
            masks = [~np.asarray(part.isin(largest)) for part in parts]
            found.append(Segment(name, _label(name, " (the rest)", taken), f"the rest ({len(rest):,} values)", *masks))
        yield found


_MISSING = " (missing)"


def _codes(column: pd.Series) -> pd.Series:
    """Return values with "=" before them, so that none is taken for a missing one."""
    return ("=" + column.astype("string")).fillna(_MISSING).astype(object)


def _label(column: str, value: str, taken: set[str]) -> str:
    """Return the name of a segment, as any database takes it: printable, not too long, and no other one's."""
    whole = f"{column}{value}"
    label = "".join(one if one.isprintable() else "\ufffd" for one in whole)
    if len(label) > MAX_LABEL or label != whole or label in taken:
        digest = hashlib.sha256(f"{len(column)}:{whole}".encode(errors="surrogatepass")).hexdigest()[:8]
        label = f"{label[: MAX_LABEL - 10]}… {digest}"
    taken.add(label)
    return label


def is_compared(name: str, reference: pd.DataFrame, manifest: Manifest) -> bool:
    """Whether the reference has the values of a column, so that segments can be compared with it."""
    return bool(column_of(reference, name, manifest).notna().any())


def score_segment(segment: Segment, frames: "SegmentFrames", manifest: Manifest) -> SegmentScores:
    """Return the figures of one segment."""
    rows, scores = int(segment.current.sum()), frames.scores[segment.labelled]
    scores = scores[np.isfinite(scores)]
    estimated = frames.estimated[segment.current]
    estimated = estimated[np.isfinite(estimated)]
    return SegmentScores(
        segment,
        rows,
        len(scores),
        float(scores.mean()) if len(scores) >= MIN_ROWS else np.nan,
        float(estimated.mean()) if len(estimated) >= MIN_ROWS else np.nan,
        _prediction_drift(segment, frames, manifest),
    )


def _prediction_drift(segment: Segment, frames: "SegmentFrames", manifest: Manifest) -> float:
    now = frames.current[PREDICTION][segment.current].dropna()
    before = frames.reference[PREDICTION][segment.reference].dropna()
    if min(len(now), len(before)) < MIN_ROWS:
        return np.nan
    method = manifest.threshold(PREDICTION).method
    return float(build_statistic(method, before, now).distances(single_window(len(now)))[0])


class SegmentFrames(NamedTuple):
    """The frames of a window, and what each row counts, NaN where that is not known.

    `scores` and `reference_scores` are those of `row_scores`, `estimated` is what is expected of the current rows.
    """

    current: pd.DataFrame
    reference: pd.DataFrame
    scores: Numbers
    reference_scores: Numbers
    estimated: Numbers


def segment_frames(
    current: pd.DataFrame,
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    estimates: Estimates | None,
) -> SegmentFrames:
    """Return the frames of a window with what each row counts."""
    scores, known = row_scores(labelled, manifest), row_scores(reference, manifest)
    return SegmentFrames(current, reference, scores, known, expected_scores(current, manifest, estimates))


def row_scores(rows: pd.DataFrame, manifest: Manifest) -> Numbers:
    """Return 1 for a right prediction and 0 for a wrong one, or the absolute error, (rows,); NaN without a label."""
    known = (rows[LABEL].notna() & rows[PREDICTION].notna()).to_numpy()
    if isinstance(manifest, ClassifierManifest):
        return np.where(known, (rows[LABEL] == rows[PREDICTION]).to_numpy(dtype=np.float64), np.nan)
    return np.asarray(np.abs(rows[PREDICTION].to_numpy("float64") - rows[LABEL].to_numpy("float64")))


def expected_scores(rows: pd.DataFrame, manifest: Manifest, estimates: Estimates | None) -> Numbers:
    """Return the chance that each prediction is right, or its expected absolute error, (rows,); NaN if not known."""
    expected = np.full(len(rows), np.nan)
    if estimates is None or not len(rows):
        return expected
    if isinstance(manifest, ClassifierManifest) != (not isinstance(estimates, NumberEstimates)):
        return expected
    if isinstance(estimates, NumberEstimates):
        known = rows[PREDICTION].notna().to_numpy()
        if known.any():
            expected[known] = expected_errors(rows[known], estimates)[0]
        return expected
    assert isinstance(manifest, ClassifierManifest)  # noqa: S101 - for the type checker: seen above
    probabilities, answers, kept = answered(rows, manifest.class_names)
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
