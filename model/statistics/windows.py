"""Windows in the form that every statistic of this package takes: how often each window holds each row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import LABEL

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.floating[Any]]
"""How often each window holds each row, (rows, windows)."""


def single_window(rows: int) -> Counts:
    """Return the counts, (rows, 1), of one window that holds each row once."""
    return np.ones((rows, 1))


def labelled_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have a label: all of an artifact's reference, and some of a service's own."""
    known = rows[LABEL].notna()
    return rows if known.all() else rows[known]
