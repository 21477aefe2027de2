"""The standard deviation in which the drift of a number column is measured."""

import numpy as np
import numpy.typing as npt

_CONSTANT = 0.001  # of the largest value, or of 1: what stands for the deviation of a reference that does not vary
_ROUNDING = 1e-12  # of the largest value: no more than the sums of float64 leave of a constant


def column_deviation(reference: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation (ddof 0) of reference values (rows,) without missing ones; always above 0.

    Evidently's own "wasserstein" takes nothing below 0.001, whatever the unit: a concentration in mol per litre would
    never be found to drift. Where the reference does not vary, a thousandth of its value stands for the deviation.
    """
    spread, largest = float(np.std(reference)), float(np.abs(reference).max())
    if spread > _ROUNDING * largest:
        return spread
    return _CONSTANT * min(1.0, largest) or _CONSTANT
