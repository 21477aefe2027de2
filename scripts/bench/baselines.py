"""The verdicts of other methods on the same windows: Evidently's default preset, and Bonferroni's correction."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, kstwo

from model.artifact.manifest import LABEL, PREDICTION, Manifest

Counts = NDArray[np.float32]
Fired = NDArray[np.bool_]

PRESET_P = 0.05
PRESET_SHARE = 0.5
PRESET = "preset, any column"
PRESET_DATASET = "preset, half of the columns"
BONFERRONI = "Kolmogorov-Smirnov, Bonferroni"
_MIN_NUMBERS = 6


class Baselines:
    """The tests of other methods; `rows` and counts are as for `VectorisedChecks`; `only` limits the columns."""

    def __init__(
        self, manifest: Manifest, reference: pd.DataFrame, rows: pd.DataFrame, only: Sequence[str] | None = None
    ) -> None:
        columns = [*manifest.feature_names, PREDICTION, LABEL]
        self._columns = len(columns)
        self._rate = manifest.false_alarm_rate
        self._tests: list[_Numbers | _Categories] = []
        for name in columns if only is None else only:
            numeric = pd.api.types.is_numeric_dtype(reference[name]) and reference[name].nunique() >= _MIN_NUMBERS
            self._tests.append((_Numbers if numeric else _Categories)(reference[name], rows[name]))

    def fired(self, counts: Counts) -> dict[str, Fired]:
        """Return for each baseline which of the windows it would call drifted."""
        preset = np.array([test.rejects(counts, PRESET_P) for test in self._tests])
        corrected = [test.rejects(counts, self._rate / self._columns) for test in self._tests]
        return {
            PRESET: preset.any(axis=0),
            PRESET_DATASET: preset.mean(axis=0) >= PRESET_SHARE,
            BONFERRONI: np.any(corrected, axis=0),
        }


class _Numbers:
    """The two-sample Kolmogorov-Smirnov test, with the asymptotic p-value of scipy."""

    def __init__(self, reference: pd.Series, rows: pd.Series) -> None:
        kept, values = np.sort(reference.dropna().to_numpy(np.float64)), rows.to_numpy(np.float64)
        present = np.flatnonzero(~np.isnan(values))
        self._order = present[np.argsort(values[present], kind="stable")]
        support = np.unique(np.concatenate([kept, values[present]]))
        self._expected = (np.searchsorted(kept, support, side="right") / len(kept))[:, None]
        self._up_to = np.searchsorted(values[self._order], support, side="right")
        self._reference_rows = len(kept)

    def rejects(self, counts: Counts, p: float) -> Fired:
        cumulated = np.zeros((len(self._order) + 1, counts.shape[1]))
        np.cumsum(counts[self._order], axis=0, out=cumulated[1:])
        rows = np.maximum(cumulated[-1], 1)
        distance = np.abs(cumulated[self._up_to] / rows - self._expected).max(axis=0)
        sizes, places = np.unique(rows, return_inverse=True)
        effective = np.round(sizes * self._reference_rows / (sizes + self._reference_rows))
        return np.asarray(distance > np.array([_critical(p, int(one)) for one in effective])[places])


@cache
def _critical(p: float, rows: int) -> float:
    """Return the distance of Kolmogorov and Smirnov that is exceeded with chance p; it takes scipy a while."""
    return float(kstwo.isf(p, rows))


class _Categories:
    """Chi-square of the window's counts against the reference's shares; of two categories, of both samples."""

    def __init__(self, reference: pd.Series, rows: pd.Series) -> None:
        names = sorted({*reference.dropna().astype(str), *rows.dropna().astype(str)})
        self._members = np.array([(rows.astype(str) == name) & rows.notna() for name in names], dtype=np.float32)
        counted = reference.dropna().astype(str).value_counts().reindex(names, fill_value=0)
        self._reference = counted.to_numpy(np.float64)[:, None]

    def rejects(self, counts: Counts, p: float) -> Fired:
        seen = (self._members @ counts).astype(np.float64)
        rows, known = seen.sum(axis=0), self._reference.sum()
        shares = self._reference / known
        if len(seen) == 2:
            shares = (seen + self._reference) / (rows + known)
            variance = shares[0] * shares[1] * (1 / np.maximum(rows, 1) + 1 / known)
            gap = seen[0] / np.maximum(rows, 1) - self._reference[0] / known
            statistic = np.divide(gap**2, variance, out=np.zeros_like(gap), where=variance > 0)
            return np.asarray(statistic > chi2.isf(p, 1))
        expected = shares * rows
        squares = (seen - expected) ** 2
        # a category that the reference lacks is impossible under it, so any occurrence rejects
        terms = np.divide(squares, expected, out=np.where(seen > 0, np.inf, 0.0), where=expected > 0)
        return np.asarray(terms.sum(axis=0) > chi2.isf(p, max(len(seen) - 1, 1)))
