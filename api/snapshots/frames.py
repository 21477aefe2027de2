"""Owns turning logged rows into the frames that a snapshot measures. Runs in the snapshot worker: it needs pandas."""

from collections.abc import Sequence

import pandas as pd

from api.prediction_log.records import LoggedRow
from model.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Feature, Manifest


def window_frame(rows: Sequence[LoggedRow], manifest: Manifest, *, labelled: bool) -> pd.DataFrame:
    """Build one frame: features in schema order, ``prediction``, ``probability_<class>`` and, if labelled, ``label``.

    Numbers are float64 with NaN where missing; categories and booleans are text with None where missing.
    """
    columns: dict[str, pd.Series] = {feature.name: _feature_column(rows, feature) for feature in manifest.features}
    columns[PREDICTION] = pd.Series([row.prediction for row in rows], dtype="object")
    for name in manifest.class_names:
        columns[f"{PROBABILITY_PREFIX}{name}"] = pd.Series([row.probabilities[name] for row in rows], dtype="float64")
    if labelled:
        columns[LABEL] = pd.Series([row.label for row in rows], dtype="object")
    return pd.DataFrame(columns)


def _feature_column(rows: Sequence[LoggedRow], feature: Feature) -> pd.Series:
    values = [row.features[feature.name] for row in rows]
    if feature.type == "number":
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else str(value) for value in values], dtype="object")
