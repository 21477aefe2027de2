"""Concept drift and attribution drift of windows in which nothing has changed."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.alarms.tails import SmoothTails
from model.artifact.manifest import ErrorCalibration
from model.statistics.attribution import MAX_EXPLAINED_ROWS, attribution_shares
from model.statistics.drift import Counts

Numbers = npt.NDArray[np.float64]


def concept_gap_and_z(wrong: Numbers, expected: Numbers, counts: Counts) -> tuple[Numbers, Numbers]:
    """Return the surplus of the error rate over the expected one, and its z, for each window, (windows,) each.

    `expected` (rows,) is the calibrated chance that each row's prediction is wrong, `counts` (rows, windows) how
    often a window holds it, `wrong` (rows,) or (rows, windows) whether it is: with e and ê for these two,
    gap = mean(e - ê) and z = sum(e - ê) / sqrt(sum ê(1 - ê)), the score test of calibration (Spiegelhalter 1986,
    Statistics in Medicine 5(5), gives its kin for the Brier score). Only labelled rows are counted.
    """
    errors = wrong.astype(counts.dtype)
    errors_seen = np.einsum("rw,rw->w", counts, errors) if errors.ndim == 2 else errors @ counts
    excess = errors_seen - expected.astype(counts.dtype) @ counts
    spread = np.sqrt((expected * (1 - expected)).astype(counts.dtype) @ counts)
    return np.asarray(excess / counts.sum(axis=0), np.float64), np.asarray(excess / spread, np.float64)


@dataclass(frozen=True)
class ExpectedErrors:
    """What is expected of prediction - label, and of its absolute value, of each row, (rows,) each."""

    mean: Numbers
    spread: Numbers
    absolute: Numbers
    absolute_spread: Numbers

    def of_rows(self, rows: npt.NDArray[np.intp]) -> "ExpectedErrors":
        """Return what is expected of these rows."""
        return ExpectedErrors(self.mean[rows], self.spread[rows], self.absolute[rows], self.absolute_spread[rows])


def expected_regression_errors(calibration: ErrorCalibration, predictions: Numbers) -> ExpectedErrors:
    """Return what is expected of the errors of predicted numbers, (rows,)."""
    knots = calibration.predictions
    return ExpectedErrors(
        np.interp(predictions, knots, calibration.mean_error),
        np.interp(predictions, knots, calibration.error_spread),
        np.interp(predictions, knots, calibration.absolute_error),
        np.interp(predictions, knots, calibration.absolute_spread),
    )


class ExcessErrors(NamedTuple):
    """How far errors are above the expected ones, in two parts, for each window, (windows,) each.

    `size` is of the absolute error, `bias` of the error to either side; gaps are in the target's unit.
    """

    size_gap: Numbers
    size_z: Numbers
    bias_gap: Numbers
    bias_z: Numbers

    @property
    def z(self) -> Numbers:
        """Return the larger z of the two, for which the threshold is calibrated."""
        return np.maximum(self.size_z, self.bias_z)


def excess_errors(errors: Numbers, expected: ExpectedErrors, counts: Counts) -> ExcessErrors:
    """Return the surplus of the errors over the expected ones, and its z.

    `errors` (rows,) are prediction - label, `counts` (rows, windows) how often a window holds each row. With r for
    these errors, m and s their expected mean and spread, a and v those of |r|: size_gap = mean(|r| - a) and
    size_z = sum(|r| - a) / sqrt(sum v^2); bias_gap = |mean(r - m)| and bias_z = |sum(r - m)| / sqrt(sum s^2). The first
    sees that the model errs more, the second that it errs to one side, as when all labels move by the same amount,
    which changes |r| in second order only. Only labelled rows are counted.
    """
    weights = counts.astype(np.float64)
    rows = weights.sum(axis=0)
    size = (np.abs(errors) - expected.absolute) @ weights
    bias = np.abs((errors - expected.mean) @ weights)
    return ExcessErrors(
        size / rows,
        size / np.sqrt(expected.absolute_spread**2 @ weights),
        bias / rows,
        bias / np.sqrt(expected.spread**2 @ weights),
    )


class NullErrors:
    """Draws of the concept drift z of a model of a number, where labels follow from the inputs as they did.

    `errors` and `predictions` (population rows,) are those of a model that had not seen the rows. The calibration stays
    as it was fitted, as for classes; its luck is that the true errors are others than those it was fitted on, which
    the draws of a population (row weights) vary. Errors of the future may be larger than any seen: the outermost, in
    expected spreads, are drawn from tails (see `SmoothTails`).
    """

    def __init__(
        self, errors: Numbers, predictions: Numbers, calibration: ErrorCalibration, rng: np.random.Generator
    ) -> None:
        expected = expected_regression_errors(calibration, predictions)
        self._tails = SmoothTails((errors - expected.mean) / expected.spread)
        self._expected = expected.of_rows(self._tails.rows)
        self._errors = self._expected.mean + self._tails.values * self._expected.spread
        self._rng = rng

    def prepare(self, weights: Numbers) -> list[Numbers]:
        """Return what the tails are like in each of the populations given by row weights."""
        return self._tails.shares(weights)

    def distances(self, counts: Counts, prepared: list[Numbers]) -> Numbers:
        """Return the z of each window, (windows,), from counts (rows, windows)."""
        return excess_errors(self._errors, self._expected, self._tails.spread(counts, prepared, self._rng)).z


class NullConcept:
    """Draws of the concept drift z where labels follow from the inputs as they did.

    `wrong` and `expected` (population rows,) hold for each row whether its prediction by a model that had not
    seen it was wrong, and the calibrated chance of that. The calibrator stays as it was fitted, since the
    windows to come meet that one; its luck is that the true error rates lie elsewhere than in its data, which is
    what the draws of a population (row weights) vary. So that a model without a single error in its data is not
    taken to be infallible, each row's outcome is not fixed but drawn, with Beta(e + 1/n, 1 - e + 1/n) as the
    chance of an error: together one more row that went wrong and one that went right, as in Platt's targets.
    """

    def __init__(self, wrong: npt.NDArray[np.bool_], expected: Numbers, rng: np.random.Generator) -> None:
        self._wrong = wrong.astype(np.float64)
        self._expected = expected
        self._rng = rng

    def prepare(self, weights: Numbers) -> list[Numbers]:
        """Return the chance of an error of each row, (rows, populations), in populations given by row weights."""
        pseudo = 1 / len(self._wrong)
        shape = (len(weights), len(self._wrong))
        return [self._rng.beta(self._wrong + pseudo, 1 - self._wrong + pseudo, size=shape).T.astype(np.float32)]

    def distances(self, counts: Counts, prepared: list[Numbers]) -> Numbers:
        """Return the z of each window, (windows,), from counts (rows, windows)."""
        return concept_gap_and_z(prepared[0], self._expected, counts)[1]


class NullAttributions:
    """Draws of the attribution distance of windows of rows like those explained.

    `phi` (explained rows, features) are mean absolute attributions and `rows` their positions in the population:
    rows that the explained model was not fitted on only. A forest is surer of rows it was fitted on, so their
    attributions are larger and lie differently from those of rows to come; there is no out-of-fold version,
    since that would explain other forests.
    """

    def __init__(self, reference: Numbers, phi: Numbers, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        self._reference = attribution_shares(reference)
        self._phi = phi.astype(np.float32)
        self._rows = rows
        self._rng = rng

    def prepare(self, weights: Numbers) -> list[Numbers]:
        """Return the weights of the explained rows, (populations, explained rows), each row adding up to 1."""
        kept = weights[:, self._rows]
        return [kept / kept.sum(axis=1, keepdims=True)]

    def distances(self, counts: Counts, prepared: list[Numbers]) -> Numbers:
        """Return the distance of each window, (windows,); of large windows only 500 rows are explained."""
        explained = min(int(counts[:, 0].sum()), MAX_EXPLAINED_ROWS)
        drawn = self._rng.multinomial(explained, prepared[0]).astype(np.float32)
        shares = attribution_shares((drawn @ self._phi).astype(np.float64))
        return np.asarray(np.abs(shares - self._reference).sum(axis=1) / 2)
