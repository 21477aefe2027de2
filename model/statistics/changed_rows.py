"""Which rows of a window carry a change most: a score for each row, by what the check measures."""

from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Feature, Manifest
from model.data.encoding import encoding_of
from model.statistics.calibration import expected_regression_errors
from model.statistics.drift import column_deviation
from model.statistics.segments import segments_of

Scores = npt.NDArray[np.float64]
MAX_BINS = 20
"""Bins of numbers, each with as many reference rows as the others: finer ones would call noise a change."""
MIN_ROWS_PER_BIN = 25
TIE = 1e-6
"""Less than any difference of scores that says something: it orders rows that score the same."""


class WindowFrames(NamedTuple):
    """What a window is made of, and the reference; frames as `take_snapshot` takes them.

    ``attributions`` (explained rows, features) holds |SHAP| of the rows of ``current`` at the places ``explained``.
    """

    current: pd.DataFrame
    labelled: pd.DataFrame
    reference: pd.DataFrame
    attributions: npt.NDArray[np.float64] | None = None
    explained: npt.NDArray[np.intp] | None = None


class ChangedRow(NamedTuple):
    """A row by its place in ``current``, or in ``labelled`` where ``of_labelled``, and how much it carries."""

    place: int
    score: float
    of_labelled: bool


def most_changed(
    check: str, column: str | None, measure: str | None, frames: WindowFrames, manifest: Manifest, *, limit: int
) -> list[ChangedRow]:
    """Return at most ``limit`` rows that carry what a failed check found, the foremost first.

    The score of a drifted column is the share of the rows with such a value that the reference does not explain: 1 for
    values that it never has. Data quality scores 1 for the rows that are counted. Performance and concept drift score
    wrong answers by the probability that was given to them, or errors by how many times the usual error they are.
    Attribution drift scores rows by how far their attributions are distributed otherwise than on the reference (0 to
    1). Rows that score 0 are left out.
    """
    labelled = check in {"target_drift", "concept_drift", "performance"}
    scores = _score(check, column, measure, frames, manifest)
    order = np.argsort(-scores, kind="stable")[:limit]
    return [ChangedRow(int(place), float(scores[place]), labelled) for place in order if scores[place] > 0]


def _score(check: str, column: str | None, measure: str | None, frames: WindowFrames, manifest: Manifest) -> Scores:
    current, labelled, reference, *_ = frames
    if check in {"concept_drift", "performance"}:
        scores = _wrong_answers(labelled, manifest, column if measure == "recall" else None)
        return scores * _in_segment(column, frames, manifest) if measure == "segment" else scores
    if check == "attribution_drift":
        return _attributions(frames, manifest)
    if check == "target_drift":
        return unexplained(labelled[LABEL], reference[LABEL].dropna())
    if check == "prediction_drift":
        return unexplained(current[PREDICTION], reference[PREDICTION])
    feature = next(one for one in manifest.features if one.name == column)
    if check == "data_quality":
        return _bad_values(current[feature.name], feature, measure)
    return unexplained(current[feature.name], reference[feature.name])


def _in_segment(label: str | None, frames: WindowFrames, manifest: Manifest) -> Scores:
    """Return 1 for the labelled rows of a segment, else 0."""
    segments = chain.from_iterable(segments_of(frames.current, frames.labelled, frames.reference, manifest))
    found = next((one.labelled for one in segments if one.label == label), None)
    return np.zeros(len(frames.labelled)) if found is None else found.astype(np.float64)


def unexplained(values: pd.Series, reference: pd.Series) -> Scores:
    """Return for each value the share of the values like it that the reference does not explain, from 0 to 1.

    Values are alike that are the same text, are both missing, or are numbers between the same two quantiles of the
    reference. With c and r the shares of such values in the window and in the reference it is max(0, 1 - r / c). Of
    numbers that are alike, those further from the reference's median come first.
    """
    if not len(values):
        return np.zeros(0)
    if pd.api.types.is_numeric_dtype(values):
        kinds, known, ties = _kinds_of_numbers(values.to_numpy("float64"), reference.to_numpy("float64"))
    else:
        both = pd.concat([values.astype(object), reference.astype(object)], ignore_index=True)
        codes = pd.factorize(both)[0] + 1  # a missing one is 0
        kinds, known, ties = codes[: len(values)], codes[len(values) :], np.zeros(len(values))
    size = int(max(kinds.max(), known.max(initial=0))) + 1
    in_window = np.bincount(kinds, minlength=size) / len(values)
    in_reference = np.bincount(known, minlength=size) / max(1, len(known))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(in_window > 0, np.maximum(0, 1 - in_reference / in_window), 0)
    scores = share[kinds]
    return np.where(scores > 0, scores - TIE * (1 - ties), 0).clip(0)


def _kinds_of_numbers(
    values: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the bins of values and of the reference, 0 where missing, and how far out a value is, from 0 to 1."""
    known = reference[~np.isnan(reference)]
    if not len(known):
        return (~np.isnan(values)).astype(np.intp), np.zeros(len(reference), np.intp), np.zeros(len(values))
    bins = int(np.clip(len(known) // MIN_ROWS_PER_BIN, 1, MAX_BINS))
    # below the least and above the greatest are bins too, and so is a value that much of the reference has
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)))

    def kind(of: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        places = np.searchsorted(edges, of, side="left") + np.searchsorted(edges, of, side="right") + 1
        return np.where(np.isnan(of), 0, places).astype(np.intp)

    distance = np.abs(values - np.median(known)) / column_deviation(known)
    return kind(values), kind(reference), np.nan_to_num(distance / (1 + distance), nan=0.0)


def _bad_values(values: pd.Series, feature: Feature, measure: str | None) -> Scores:
    """Return 1 for each value that is missing, outside the training data, or the one that is stuck; else 0."""
    present = values.notna()
    found = ~present
    if measure in {"out_of_range", "new_category"}:
        found = present & encoding_of(feature).outside_training(values, feature)
    elif measure == "stuck" and present.any():
        found = values == values[present].mode().iloc[0]
    return np.asarray(found, dtype=np.float64)


def _wrong_answers(labelled: pd.DataFrame, manifest: Manifest, of_class: str | None) -> Scores:
    """Return how surprising each wrong answer is; of one class alone where it is given."""
    if not isinstance(manifest, ClassifierManifest):
        errors = np.abs(labelled[PREDICTION].to_numpy("float64") - labelled[LABEL].to_numpy("float64"))
        usual = expected_regression_errors(manifest.calibration, labelled[PREDICTION].to_numpy("float64")).absolute
        return np.asarray(np.nan_to_num(errors / np.maximum(usual, TIE), nan=0.0, posinf=np.finfo(float).max))
    wrong = (labelled[LABEL] != labelled[PREDICTION]).to_numpy()
    if of_class is not None:
        wrong &= (labelled[LABEL] == of_class).to_numpy()
    scores = np.zeros(len(labelled))
    for name in manifest.class_names:
        given = (labelled[PREDICTION] == name).to_numpy()
        scores[given] = labelled[PROBABILITY_PREFIX + name].to_numpy("float64")[given]
    return np.where(wrong, np.nan_to_num(scores, nan=0.0).clip(TIE, 1), 0)


def _attributions(frames: WindowFrames, manifest: Manifest) -> Scores:
    scores = np.zeros(len(frames.current))
    if frames.attributions is None or manifest.attributions is None:
        return scores
    usual = np.array([manifest.attributions.mean_absolute[name] for name in manifest.feature_names])
    shares = frames.attributions / np.maximum(frames.attributions.sum(axis=1, keepdims=True), TIE)
    places = np.arange(len(shares)) if frames.explained is None else frames.explained
    scores[places] = np.abs(shares - usual / max(usual.sum(), TIE)).sum(axis=1) / 2
    return scores
