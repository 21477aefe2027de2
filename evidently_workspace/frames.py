"""Turns a window's frame into what Evidently measures: typed columns, and one Dataset per question."""

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.datasets import BinaryClassification, MulticlassClassification

from model.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Manifest

ACTUAL_CLASS = "actual class"
PREDICTED_CLASS = "predicted class"


def with_schema(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Return the frame with every feature present and typed: numbers float64, all else str or None.

    A column that the frame lacks, or that holds nothing, becomes all missing instead of breaking a report;
    so does a value that is no number where one belongs (a row logged under another schema).
    """
    columns: dict[str, pd.Series] = {}
    for feature in manifest.features:
        column = frame.get(feature.name, pd.Series(None, index=frame.index, dtype=object))
        columns[feature.name] = (
            pd.to_numeric(column, errors="coerce").astype("float64") if feature.type == "number" else _text(column)
        )
    for name in (PREDICTION, LABEL):
        if name in frame:
            columns[name] = _text(frame[name])
    for name in manifest.class_names:
        if (column_name := PROBABILITY_PREFIX + name) in frame:
            columns[column_name] = frame[column_name].astype("float64")
    return pd.DataFrame(columns, index=frame.index).reset_index(drop=True)


def _text(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), None).map(str, na_action="ignore")


def columns_dataset(frame: pd.DataFrame, columns: list[str], manifest: Manifest) -> Dataset:
    """Return some columns as a Dataset; a feature has its schema's type, all else is a category."""
    numbers = {feature.name for feature in manifest.features if feature.type == "number"}
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


def probabilities_dataset(frame: pd.DataFrame, manifest: Manifest) -> Dataset:
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
