"""Owns explaining a window's predictions: which rows, and what is said where the model cannot be explained."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.errors import ExplanationError
from model.explanation import Explainer, load_explainer

MOST_ROWS = 500
"""TreeSHAP takes some milliseconds a row, and a mean over these many is steady enough to compare."""


class WindowExplanations:
    """Explains windows with the model of an artifact folder, which is loaded once."""

    def __init__(self, model_dir: Path) -> None:
        self._explainer: Explainer | None = None
        self._reason: str | None = None
        try:
            self._explainer = load_explainer(model_dir)
        except ExplanationError as error:
            self._reason = str(error)

    def explain(self, current: pd.DataFrame) -> tuple[npt.NDArray[np.float64] | None, str | None]:
        """Return |SHAP| of at most 500 rows, (rows, features), or None with the reason.

        The rows are drawn with a fixed seed, so that a window that is taken again gives the same numbers.
        """
        if self._explainer is None:
            return None, self._reason
        if current.empty:
            return None, "no predictions in this window"
        rows = current if len(current) <= MOST_ROWS else current.sample(MOST_ROWS, random_state=0)
        return self._explainer.attributions(rows), None
