"""Windows in the form that every statistic of this package takes: how often each window holds each row."""

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.floating[Any]]
"""How often each window holds each row, (rows, windows)."""


def single_window(rows: int) -> Counts:
    """Return the counts, (rows, 1), of one window that holds each row once."""
    return np.ones((rows, 1))
