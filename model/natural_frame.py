"""The frame that a pipeline made elsewhere knows: as pandas reads a CSV file."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from model.classifiers import MISSING_TEXT


class NaturalFrame(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The first step of an adopted pipeline: gives it NaN for missing text, and true and false as such.

    `booleans` are the names of the columns of true and false.
    """

    def __init__(self, booleans: tuple[str, ...] = ()) -> None:
        self.booleans = booleans

    def fit(self, rows: pd.DataFrame, labels: Any = None) -> Self:
        """Return itself; there is nothing to learn."""
        del rows, labels
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as pandas reads them from a CSV file."""
        columns = {}
        for name in rows:
            column = rows[name]
            if column.dtype == object:
                column = column.where(column != MISSING_TEXT, np.nan)
                if name in self.booleans:
                    column = column.map({"True": True, "False": False}).astype(object)
                    column = column if column.isna().any() else column.astype(bool)
            columns[name] = column
        return pd.DataFrame(columns, index=rows.index)

    def __sklearn_is_fitted__(self) -> bool:
        """Say that it is ready."""
        return True
