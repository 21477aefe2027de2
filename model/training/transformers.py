"""The scikit-learn transformers of this program. Saved pipelines hold them, so their names must stay importable."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from model.data.encoding import BOOLEANS, MISSING_TEXT


class EmptyColumnsFilled(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Puts 0 into columns that had no value when it was fitted, from which nothing can be learned.

    Histogram gradient boosting takes gaps, but cannot be fitted where a column has nothing else, as may happen to a
    column that is nearly always missing when the rows are divided.
    """

    def fit(self, rows: Any, labels: Any = None) -> Self:
        """Remember which columns are empty."""
        del labels
        self.empty_ = np.isnan(np.asarray(rows, dtype=np.float64)).all(axis=0)
        return self

    def transform(self, rows: Any) -> npt.NDArray[np.float64]:
        """Return the rows, (rows, columns), with 0 in those columns."""
        return np.where(self.empty_, 0.0, np.asarray(rows, dtype=np.float64))


class PandasCompatibility(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # as above
    """The first step of an imported pipeline: hands it the rows as pandas reads them from a CSV file.

    Missing text becomes NaN, and the columns named in `booleans` hold true and false instead of text. Those in
    `categories` get pandas' category dtype with these categories; a value that is none of them becomes missing. The
    columns are then called `names`, as the pipeline knows them, or are given without any where `array` is true.
    """

    def __init__(
        self,
        booleans: tuple[str, ...] = (),
        categories: Mapping[str, tuple[Any, ...]] | None = None,
        names: tuple[str, ...] | None = None,
        *,
        array: bool = False,
    ) -> None:
        self.booleans = booleans
        self.categories = categories
        self.names = names
        self.array = array

    def fit(self, rows: pd.DataFrame, labels: Any = None) -> Self:
        """Return itself; there is nothing to learn."""
        del rows, labels
        return self

    def transform(self, rows: pd.DataFrame) -> Any:
        """Return the rows as pandas reads them from a CSV file."""
        # saved by an earlier version, it has booleans alone
        categories = getattr(self, "categories", None) or {}
        names = getattr(self, "names", None)
        columns = {}
        for name in rows:
            column = rows[name]
            if column.dtype == object:
                column = column.where(column != MISSING_TEXT, np.nan)
                if name in self.booleans:
                    column = column.map(BOOLEANS).astype(object)
                    column = column if column.isna().any() else column.astype(bool)
            if name in categories:
                column = pd.Series(pd.Categorical(column, categories=list(categories[name])), index=rows.index)
            columns[name] = column
        frame = pd.DataFrame(columns, index=rows.index)
        if getattr(self, "array", False):
            return frame.to_numpy()
        return frame if names is None else frame.set_axis(list(names), axis="columns")

    def __sklearn_is_fitted__(self) -> bool:
        """Say that it is ready."""
        return True


NaturalFrame = PandasCompatibility
"""Its former name, which saved pipelines hold."""
