"""Null distributions of concept drift and attribution drift: their values in windows where nothing has changed."""

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv

from model.alarms.tails import SmoothTails, TailShape
from model.artifact.manifest import ErrorCalibration
from model.statistics.attribution import MAX_EXPLAINED_ROWS, attribution_distance
from model.statistics.calibration import expected_regression_errors
from model.statistics.concept import classification_drift, regression_drift
from model.statistics.windows import Counts, Numbers


class NullErrors:
    """Draws of the concept drift z of a regressor where labels follow from the inputs as they did.

    `errors` and `predictions` (population rows,) are those of a model that had not seen the rows. The calibration stays
    as it was fitted, as for classes. It is uncertain because the true errors differ from those that it was fitted on,
    which the draws of a population (row weights) vary. Errors of the future may be larger than any seen: the outermost,
    in expected standard deviations, are drawn from tails (see `SmoothTails`).
    """

    def __init__(
        self, errors: Numbers, predictions: Numbers, calibration: ErrorCalibration, rng: np.random.Generator
    ) -> None:
        expected = expected_regression_errors(calibration, predictions)
        self._tails = SmoothTails((errors - expected.mean) / expected.deviation)
        self._expected = expected.of_rows(self._tails.rows)
        self._errors = self._expected.mean + self._tails.values * self._expected.deviation
        self._rng = rng

    def prepare(self, weights: Numbers) -> list[TailShape]:
        """Return what the tails are like in each of the populations given by row weights."""
        return self._tails.shapes(weights)

    def distances(self, counts: Counts, prepared: list[TailShape]) -> Numbers:
        """Return the z of each window, (windows,), from counts (rows, windows)."""
        return regression_drift(
            self._errors, self._expected, self._tails.counts_with_tails(counts, prepared, self._rng)
        ).z


class NullConcept:
    """Draws of the concept drift z where labels follow from the inputs as they did.

    `wrong` and `expected` (population rows,) hold for each row whether its prediction by a model that had not
    seen it was wrong, and the calibrated chance of that. The calibrator stays as it was fitted, since the
    windows to come meet that one; it is uncertain because the true error rates differ from those in its data, which is
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
        small = _small_chances(1 / len(self._wrong), (len(self._wrong), len(weights)), self._rng)
        return [np.where(self._wrong[:, None] > 0, 1 - small, small)]

    def distances(self, counts: Counts, prepared: list[Numbers]) -> Numbers:
        """Return the z of each window, (windows,), from counts (rows, windows)."""
        return classification_drift(prepared[0], self._expected, counts).z


_NO_CHANCE = 1e-7


def _small_chances(pseudo: float, shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return draws of Beta(pseudo, 1 + pseudo), with those below a ten millionth as 0.

    With a small `pseudo` nearly all of them are, so that drawing only the others takes a tenth of the time.
    """
    drawn = np.zeros(shape, dtype=np.float32)
    below = float(betainc(pseudo, 1 + pseudo, _NO_CHANCE))
    above = np.flatnonzero(rng.random(shape, dtype=np.float32).ravel() >= below)
    drawn.ravel()[above] = betaincinv(pseudo, 1 + pseudo, rng.uniform(below, 1, len(above)))
    return drawn


class NullAttributions:
    """Draws of the attribution distance of windows of rows like those explained.

    `phi` (explained rows, features) are mean absolute attributions and `rows` their positions in the population:
    rows that the explained model was not fitted on only. A forest is surer of rows it was fitted on, so their
    attributions are larger and lie differently from those of rows to come; there is no out-of-fold version,
    since that would explain other forests.
    """

    def __init__(self, reference: Numbers, phi: Numbers, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        self._reference = reference
        self._phi = phi.astype(np.float32)
        self._rows = rows
        self._rng = rng

    def prepare(self, weights: Numbers) -> list[Numbers]:
        """Return the weights of the explained rows, (populations, explained rows), each row adding up to 1."""
        kept = weights[:, self._rows]
        return [kept / kept.sum(axis=1, keepdims=True)]

    def distances(self, counts: Counts, prepared: list[Numbers]) -> Numbers:
        """Return the distance of each window, (windows,); only MAX_EXPLAINED_ROWS of a large one are explained."""
        explained = min(int(counts[:, 0].sum()), MAX_EXPLAINED_ROWS)
        drawn = self._rng.multinomial(explained, prepared[0]).astype(np.float32)
        return attribution_distance(self._reference, (drawn @ self._phi).astype(np.float64))
