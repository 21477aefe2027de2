"""Proof that ONNX answers as scikit-learn does, on seen, missing and unseen values."""

from collections.abc import Sequence

import numpy as np

from model.artifact.manifest import Feature, Parity, RegressionParity
from model.data.encoding import Row, encoding_of
from model.serving.engines import TIE, Answers, Classifier, Numbers, Probabilities, Regressor, answers_of

TOLERANCE = 1e-5
"""Largest difference of a probability that is still rounding: ONNX adds up 100 trees in float32."""
REGRESSION_TOLERANCE = 1e-4
"""The same for numbers, in standard deviations of the target."""

_MAX_PROBED_ROWS = 1_000
_MAX_EXTREME_ROWS = 100
_MAX_COPIED_CELLS = 2_500_000
_MIN_COPIED_ROWS = 5


def probing_rows(rows: Sequence[Row], features: tuple[Feature, ...]) -> list[Row]:
    """Return the rows, and copies of (at most 1,000 of) them with gaps and surprises; of fewer where columns are many.

    For each nullable column a copy with it missing, for each category column a copy with an unseen value, for each
    number column copies of at most 100 rows with absurd values, and one copy with everything missing that may be.
    """
    probes = list(rows)
    affordable = max(_MIN_COPIED_ROWS, _MAX_COPIED_CELLS // len(features) ** 2)  # each column is copied, in whole rows
    few = rows[:: max(1, -(-len(rows) // min(_MAX_EXTREME_ROWS, affordable)))]
    copied = rows[:: max(1, -(-len(rows) // min(_MAX_PROBED_ROWS, affordable)))]
    for place, feature in enumerate(features):
        if feature.nullable:
            probes += [(*row[:place], None, *row[place + 1 :]) for row in copied]
        encoding = encoding_of(feature)
        probed = few if encoding.is_number else copied
        probes += [(*row[:place], value, *row[place + 1 :]) for row in probed for value in encoding.surprises(feature)]
    gaps = [feature.nullable for feature in features]
    probes.append(tuple(None if gap else value for gap, value in zip(gaps, rows[0], strict=True)))
    return probes


def compare(
    onnx: Classifier | Answers, pipeline: Classifier | Probabilities, rows: Sequence[Row], *, known_rows: int = 0
) -> Parity:
    """Return how far the two engines are apart on these rows; `reason` is set if that is too far.

    Instead of either, what it answers to the rows will do. Each of the first `known_rows` rows must get the same
    class. On the others, which are made up, rounding may settle a tie either way.
    """
    expected = pipeline if isinstance(pipeline, np.ndarray) else pipeline.probabilities(rows)
    try:
        answered, chosen = onnx if isinstance(onnx, Answers) else answers_of(onnx, rows)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's kinds share no base; none may end the training
        return no_parity(f"the ONNX model fails at run time: {error}")
    difference = np.abs(answered - expected)
    # NaN compares false with everything, so it must be counted as a difference by name
    largest = float(np.nan_to_num(difference, nan=1.0).max())
    excused = _ties(expected)
    excused[:known_rows] = False
    disagreements = int(((chosen != expected.argmax(axis=1)) & ~excused).sum())
    reason = None
    if largest > TOLERANCE or disagreements:
        reason = (
            f"ONNX differs from scikit-learn by up to {largest:.2g} in probability and in class on {disagreements} rows"
        )
    return Parity(
        rows=len(rows),
        max_probability_difference=largest,
        class_disagreements=disagreements,
        reason=reason,
    )


def compare_regression(
    onnx: Regressor | Numbers, pipeline: Regressor | Numbers, rows: Sequence[Row], standard_deviation: float
) -> RegressionParity:
    """Return how far the two engines are apart on these rows, in standard deviations of the target.

    `reason` is set if that is too far: more than a report could show.
    """
    expected = pipeline if isinstance(pipeline, np.ndarray) else pipeline.numbers(rows)
    try:
        answered = onnx if isinstance(onnx, np.ndarray) else onnx.numbers(rows)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's kinds share no base; none may end the training
        return no_regression_parity(f"the ONNX model fails at run time: {error}")
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(answered - expected) / standard_deviation
    if not np.isfinite(difference).all():
        endless = "ONNX answers some rows with no finite number"
        return RegressionParity(rows=len(rows), max_difference=None, reason=endless)
    largest = float(difference.max())
    reason = None
    if largest > REGRESSION_TOLERANCE:
        reason = f"ONNX differs from scikit-learn by up to {largest:.2g} standard deviations of the target"
    return RegressionParity(rows=len(rows), max_difference=largest, reason=reason)


def no_regression_parity(reason: str) -> RegressionParity:
    """Return the parity of a regressor for which there was nothing to compare."""
    return RegressionParity(rows=0, max_difference=None, reason=reason)


def no_parity(reason: str) -> Parity:
    """Return the parity of a classifier for which there was nothing to compare."""
    return Parity(rows=0, max_probability_difference=None, class_disagreements=None, reason=reason)


def _ties(probabilities: Probabilities) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    best_two = np.sort(probabilities, axis=1)[:, -2:]
    return np.asarray(best_two[:, 1] - best_two[:, 0] <= TIE)
