"""The labelled rows of a regressor as Evidently measures them."""

from typing import NamedTuple

import pandas as pd
from evidently import DataDefinition, Dataset, Regression

from model.artifact.manifest import LABEL, PREDICTION, RegressorManifest
from model.statistics.calibration import expected_regression_errors

ACTUAL_NUMBER = "actual number"
PREDICTED_NUMBER = "predicted number"
ERROR = "error"
EXPECTED_ERROR, ERROR_DEVIATION = "expected error", "standard deviation of the error"
EXPECTED_ABSOLUTE, ABSOLUTE_DEVIATION = "expected absolute error", "standard deviation of the absolute error"


class NumericRows(NamedTuple):
    """The rows whose prediction and label are both numbers, and how many are not."""

    rows: pd.DataFrame
    left_out: int


def numeric_rows(frame: pd.DataFrame) -> NumericRows:
    """Return the labelled rows that can be scored."""
    rows = frame[frame[[PREDICTION, LABEL]].notna().all(axis="columns")]
    return NumericRows(rows, len(frame) - len(rows))


def scored_errors(rows: pd.DataFrame, manifest: RegressorManifest) -> pd.DataFrame:
    """Return PREDICTION and ERROR (prediction - label) of each row, with what the calibration predicts.

    EXPECTED_ERROR and ERROR_DEVIATION are mean and standard deviation of the error, EXPECTED_ABSOLUTE and
    ABSOLUTE_DEVIATION those of its absolute value, for a prediction of this number.
    """
    predicted = rows[PREDICTION].to_numpy("float64")
    expected = expected_regression_errors(manifest.calibration, predicted)
    names = (EXPECTED_ERROR, ERROR_DEVIATION, EXPECTED_ABSOLUTE, ABSOLUTE_DEVIATION)
    columns = dict(zip(names, expected, strict=True))
    return pd.DataFrame({PREDICTION: predicted, ERROR: predicted - rows[LABEL].to_numpy("float64")} | columns)


def with_titles(rows: pd.DataFrame) -> pd.DataFrame:
    """Return actual and predicted numbers under the names that figures show."""
    return rows[[LABEL, PREDICTION]].set_axis([ACTUAL_NUMBER, PREDICTED_NUMBER], axis="columns")


def regression_dataset(rows: pd.DataFrame, moved_by: float = 0.0) -> Dataset:
    """Return actual and predicted numbers as a regression, both of them moved by the same amount."""
    data = with_titles(rows) + moved_by
    columns = [ACTUAL_NUMBER, PREDICTED_NUMBER]
    task = Regression(target=ACTUAL_NUMBER, prediction=PREDICTED_NUMBER)
    definition = DataDefinition(numerical_columns=columns, regression=[task])
    return Dataset.from_pandas(data, data_definition=definition)


def scored_dataset(scored: pd.DataFrame) -> Dataset:
    """Return the columns of `scored_errors` as plain numbers."""
    return Dataset.from_pandas(scored, data_definition=DataDefinition(numerical_columns=list(scored)))
