"""Turns the frame of a window into typed columns, and these into the datasets that Evidently measures."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.datasets import BinaryClassification, MulticlassClassification

from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    ClassifierManifest,
    Manifest,
    RegressorManifest,
)
from model.data.encoding import category_features, encoding_of, number_features, text_column
from model.statistics.calibration import expected_errors
from model.statistics.segments import metadata_columns

ACTUAL_CLASS = "actual class"
PREDICTED_CLASS = "predicted class"
PROBABILITY, CORRECT = "probability of the predicted class", "prediction is right"
MAX_NEW_VALUES = 5
MAX_VALUE = 40
LARGEST_NUMBER = 1e100
"""Predicted numbers and labels are limited to this size, so that their squares can be added up."""
ERROR, EXPECTED_ERROR = "error", "expected error"


def with_schema(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Return the frame with every feature present and typed: numbers float64, all else str or None.

    Predictions and labels are text for a classifier, and numbers for a regressor. A column that the frame
    lacks, or that holds nothing, becomes all missing instead of breaking a report; so does a value that is no number
    where one belongs (a row logged under another schema), and a probability that was not logged.
    """
    columns: dict[str, pd.Series] = {}
    for feature in manifest.features:
        column = frame.get(feature.name, pd.Series(None, index=frame.index, dtype=object))
        columns[feature.name] = encoding_of(feature).coerced_column(column)
    for name in (PREDICTION, LABEL):
        if name in frame:
            columns[name] = _answers(frame[name], manifest)
    if isinstance(manifest, ClassifierManifest):
        for column_name in _probability_columns(manifest):
            column = frame.get(column_name, pd.Series(math.nan, index=frame.index))
            columns[column_name] = column.astype("float64")
    for name in metadata_columns(manifest).values():
        columns[name] = text_column(frame.get(name, pd.Series(None, index=frame.index, dtype=object)))
    return pd.DataFrame(columns, index=frame.index).reset_index(drop=True)


def _answers(column: pd.Series, manifest: Manifest) -> pd.Series:
    if isinstance(manifest, ClassifierManifest):
        return text_column(column)
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers)).clip(-LARGEST_NUMBER, LARGEST_NUMBER)


def comparable(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both frames with the categories as figures show them: few new ones, and no long ones.

    Of the values that the reference lacks only the commonest few keep their names, else a figure would draw a bar for
    each of thousands of made-up values. The Jensen-Shannon distance stays as it is: a value without a counterpart adds
    in proportion to its share, and a long value has one short name in both frames, which no other value has.
    """
    columns: dict[str, pd.Series] = {}
    known: dict[str, pd.Series] = {}
    for feature in category_features(manifest.features):
        column, values = current[feature.name], reference[feature.name]
        new = column[column.notna() & ~column.isin(set(values))]
        rare = new.value_counts().index[MAX_NEW_VALUES:]
        together = column.isin(rare)
        if together.any():
            column = column.mask(together, f"{len(rare):,} other new values")
        names = _short_names({*values.dropna().unique(), *column.dropna().unique()})
        columns[feature.name] = column.map(names, na_action="ignore")
        known[feature.name] = values.map(names, na_action="ignore")
    return current.assign(**columns), reference.assign(**known)


def _short_names(values: set[str]) -> dict[str, str]:
    """Return a name of its own for each value, short enough for a figure; values that begin alike are numbered."""
    names = {value: value for value in values if len(value) <= MAX_VALUE}
    taken = set(names)
    for value in sorted(values - taken):
        name, number = shortened(value), 2
        while name in taken:
            name, number = f"{value[: MAX_VALUE - 6]}… ({number})", number + 1
        taken.add(name)
        names[value] = name
    return names


def shortened(text: str) -> str:
    """Return a value at a length that fits a table or a figure."""
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def columns_dataset(frame: pd.DataFrame, columns: list[str], manifest: Manifest) -> Dataset:
    """Return some columns as a Dataset; a feature has its schema's type, an answer is a number or a category."""
    numbers = {feature.name for feature in number_features(manifest.features)}
    if isinstance(manifest, RegressorManifest):
        numbers |= {PREDICTION, LABEL}
    definition = DataDefinition(
        numerical_columns=[name for name in columns if name in numbers],
        categorical_columns=[name for name in columns if name not in numbers],
    )
    return Dataset.from_pandas(frame[columns], data_definition=definition)


def classes_dataset(frame: pd.DataFrame) -> Dataset:
    """Return actual and predicted classes without probabilities.

    Evidently's metrics per class fail on a class that the window lacks if they see probabilities.
    """
    task = MulticlassClassification(target=ACTUAL_CLASS, prediction_labels=PREDICTED_CLASS)
    definition = DataDefinition(categorical_columns=[ACTUAL_CLASS, PREDICTED_CLASS], classification=[task])
    data = frame[[LABEL, PREDICTION]].set_axis([ACTUAL_CLASS, PREDICTED_CLASS], axis="columns")
    return Dataset.from_pandas(data, data_definition=definition)


RESERVED = frozenset(
    {"accuracy", "macro avg", "micro avg", "weighted avg", "samples avg", ACTUAL_CLASS, PREDICTED_CLASS}
)
"""Names that Evidently and scikit-learn's report, which it reads, have for something else than a class."""
NEUTRAL = "\u200b"
"""Makes another name of a reserved one: a space without width, which a figure shows as nothing."""


def _neutral(name: str) -> str:
    return name + NEUTRAL if name in RESERVED else name


def with_neutral_classes(frame: pd.DataFrame, manifest: ClassifierManifest) -> pd.DataFrame:
    """Return answers and probabilities with another name for each class that has a reserved one."""
    columns = {PROBABILITY_PREFIX + name: PROBABILITY_PREFIX + _neutral(name) for name in manifest.class_names}
    answers = {name: frame[name].map(_neutral, na_action="ignore") for name in (LABEL, PREDICTION) if name in frame}
    return frame.assign(**answers).rename(columns=columns)


def with_neutral_names(manifest: ClassifierManifest) -> ClassifierManifest:
    """Return the manifest with the class names of `with_neutral_classes`."""
    per_class = {_neutral(name): scores for name, scores in manifest.quality.per_class.items()}
    quality = manifest.quality.model_copy(update={"per_class": per_class})
    classes = tuple(_neutral(str(name)) for name in manifest.classes)
    return manifest.model_copy(update={"classes": classes, "quality": quality})


def real_names(of: Any) -> Any:
    """Return a text, or what has texts in it, with the real names of classes."""
    if isinstance(of, str):
        return of.replace(NEUTRAL, "")
    if isinstance(of, dict):
        return {real_names(key): real_names(value) for key, value in of.items()}
    if isinstance(of, list | tuple):
        return type(of)(real_names(value) for value in of)
    return of


def with_probabilities(frame: pd.DataFrame, manifest: ClassifierManifest) -> pd.DataFrame:
    """Return the rows whose probabilities are all known."""
    return frame[frame[_probability_columns(manifest)].notna().all(axis="columns")]


def as_if_certain(frame: pd.DataFrame, manifest: ClassifierManifest) -> pd.DataFrame:
    """Return the frame with each prediction at probability 1, for scores that look at classes alone."""
    certain = {
        PROBABILITY_PREFIX + name: (frame[PREDICTION] == name).astype("float64") for name in manifest.class_names
    }
    return frame.assign(**certain)


def scored_predictions(frame: pd.DataFrame, manifest: ClassifierManifest) -> pd.DataFrame:
    """Return PROBABILITY, CORRECT, ERROR and EXPECTED_ERROR of each labelled row whose probabilities are known.

    CORRECT and ERROR are 1 or 0; EXPECTED_ERROR is the chance of an error by the model's calibration.
    """
    rows = with_probabilities(frame, manifest)
    rows = rows[rows[PREDICTION].isin(manifest.class_names)]
    position = rows[PREDICTION].map({name: place for place, name in enumerate(manifest.class_names)})
    every = rows[_probability_columns(manifest)].to_numpy("float64")
    probability = every[np.arange(len(rows)), position.to_numpy(dtype=np.intp)]
    correct = (rows[LABEL] == rows[PREDICTION]).to_numpy("float64")
    expected = expected_errors(manifest.calibration, probability)
    columns = {PROBABILITY: probability, CORRECT: correct, ERROR: 1 - correct, EXPECTED_ERROR: expected}
    return pd.DataFrame(columns)


def chances_and_labels(
    frame: pd.DataFrame, manifest: ClassifierManifest
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return the probability of each class, (rows, classes), and the place of the label, of the rows that are scored.

    Rows whose label is no class of the model are left out.
    """
    rows = with_probabilities(frame, manifest)
    rows = rows[rows[PREDICTION].isin(manifest.class_names) & rows[LABEL].isin(manifest.class_names)]
    codes = pd.Index(manifest.class_names, dtype=object).get_indexer(pd.Index(rows[LABEL], dtype=object))
    return rows[_probability_columns(manifest)].to_numpy("float64"), codes


def _probability_columns(manifest: ClassifierManifest) -> list[str]:
    return [PROBABILITY_PREFIX + name for name in manifest.class_names]


def probabilities_dataset(frame: pd.DataFrame, manifest: ClassifierManifest) -> Dataset:
    """Return actual class, predicted class and one probability column per class, named as the class.

    With the list of columns Evidently knows every class even when the window has only one; that holds for
    two classes as well, although the annotation of BinaryClassification names a single column. Of two
    classes, the last is the positive one, so its precision, recall and F1 are the ones reported.
    """
    classes = list(manifest.class_names)
    names = {LABEL: ACTUAL_CLASS, PREDICTION: PREDICTED_CLASS}
    names |= {PROBABILITY_PREFIX + name: name for name in classes}
    task: BinaryClassification | MulticlassClassification
    if len(classes) == 2:
        task = BinaryClassification(
            target=ACTUAL_CLASS,
            prediction_labels=PREDICTED_CLASS,
            prediction_probas=classes[::-1],
            pos_label=classes[-1],
        )
    else:
        task = MulticlassClassification(
            target=ACTUAL_CLASS, prediction_labels=PREDICTED_CLASS, prediction_probas=classes
        )
    definition = DataDefinition(
        numerical_columns=classes, categorical_columns=[ACTUAL_CLASS, PREDICTED_CLASS], classification=[task]
    )
    return Dataset.from_pandas(frame[list(names)].rename(columns=names), data_definition=definition)
