"""Owns turning logged rows into the frames that a snapshot measures. Runs in the snapshot worker: it needs pandas."""

import math
from collections.abc import Sequence

import pandas as pd

from api.prediction_log.records import LoggedRow
from model.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Feature, Manifest


def window_frame(rows: Sequence[LoggedRow], manifest: Manifest, *, labelled: bool) -> pd.DataFrame:
    """Build one frame: features in schema order, ``prediction``, ``probability_<class>`` and, if labelled, ``label``.

    Numbers are float64 with NaN where missing; categories and booleans are text with None where missing. Predictions
    and labels are text, or numbers where the model predicts one: what does not read as a number is NaN then.
    """
    columns: dict[str, pd.Series] = {feature.name: _feature_column(rows, feature) for feature in manifest.features}
    columns[PREDICTION] = _answers([row.prediction for row in rows], manifest)
    if isinstance(manifest, ClassifierManifest):
        for name in manifest.class_names:
            probabilities = [row.probabilities[name] for row in rows]
            columns[f"{PROBABILITY_PREFIX}{name}"] = pd.Series(probabilities, dtype="float64")
    if labelled:
        columns[LABEL] = _answers([row.label for row in rows], manifest)
    return pd.DataFrame(columns)


def _answers(logged: list[str | None] | list[str], manifest: Manifest) -> pd.Series:
    if isinstance(manifest, ClassifierManifest):
        return pd.Series(logged, dtype="object")
    return pd.Series([_number(text) for text in logged], dtype="float64")


def _number(text: str | None) -> float:
    # Not pandas' own reader, which is off in the last digit.
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _feature_column(rows: Sequence[LoggedRow], feature: Feature) -> pd.Series:
    values = [row.features[feature.name] for row in rows]
    if feature.type == "number":
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else str(value) for value in values], dtype="object")
