"""A step that keeps gaps as they are, but for columns that are nothing but gaps."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin


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
