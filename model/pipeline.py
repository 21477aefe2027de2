"""The scikit-learn pipeline: impute, encode, classify."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from model.classifiers import MISSING_TEXT, Probabilities
from model.manifest import Feature

_MISSING_CATEGORY = "(missing)"


def build_pipeline(features: tuple[Feature, ...], seed: int) -> Pipeline:
    """Return an unfitted classifier for rows in the order of `features`.

    Every column is imputed, so each may be missing in a prediction: numbers by their median, text as a
    category of its own. A forest that is fed NaN, or an imputer that adds indicator columns, converts to ONNX
    without an error and then predicts something else. Columns are chosen by position, which holds for frames,
    for one matrix and for one ONNX input per column, whatever characters their names have.
    """
    numbers = [place for place, feature in enumerate(features) if feature.type == "number"]
    texts = [place for place, feature in enumerate(features) if feature.type != "number"]
    # keep_empty_features: a column may be empty in the rows trained on though not in all rows
    impute_numbers = SimpleImputer(strategy="median", keep_empty_features=True)
    encode_texts = Pipeline(
        [
            (
                "impute",
                SimpleImputer(
                    strategy="constant",
                    missing_values=MISSING_TEXT,
                    fill_value=_MISSING_CATEGORY,
                    keep_empty_features=True,
                ),
            ),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        ]
    )
    steps = [("numbers", impute_numbers, numbers)] if numbers else []
    if texts:
        steps.append(("texts", encode_texts, texts))
    # Leaves of two rows or more: a smaller model whose probabilities are less often exactly 0 or 1
    forest = RandomForestClassifier(n_estimators=100, min_samples_leaf=2, random_state=seed)
    return Pipeline([("columns", ColumnTransformer(steps)), ("forest", forest)])


def pipeline_input(frame: pd.DataFrame, features: tuple[Feature, ...]) -> pd.DataFrame:
    """Return the frame's feature columns as the pipeline takes them: NaN for numbers, "" for missing text."""
    columns = {
        feature.name: frame[feature.name]
        if feature.type == "number"
        else frame[feature.name].astype(object).where(frame[feature.name].notna(), MISSING_TEXT)
        for feature in features
    }
    return pd.DataFrame(columns)


def pipeline_probabilities(pipeline: Pipeline, frame: pd.DataFrame, features: tuple[Feature, ...]) -> Probabilities:
    """Return the pipeline's class probabilities, (rows, classes)."""
    return np.asarray(pipeline.predict_proba(pipeline_input(frame, features)), dtype=np.float64)
