"""Which inputs a pipeline takes: tried on missing values, new categories and extreme numbers."""

from collections.abc import Sequence

import numpy as np

from model.artifact.manifest import Feature, Value
from model.data.encoding import Row, encoding_of
from model.errors import DataError
from model.serving.engines import AnyEngine, Classifier, predictions_of

_TRIED_ROWS = 20
_MAX_TRIED_CELLS = 2_000_000


def proven_features(engine: AnyEngine, features: tuple[Feature, ...], rows: Sequence[Row]) -> tuple[Feature, ...]:
    """Return the features, nullable where the pipeline was seen to answer rows in which they are missing.

    Raises DataError where it fails on the rows themselves, on a category that it has not seen or on a number far
    outside its range: callers will send such values, and each must be answered.
    """
    failure = _failure(engine, rows)
    if failure:
        raise DataError(f"the pipeline cannot predict the test rows: {failure}")
    sample = rows[: max(2, min(_TRIED_ROWS, _MAX_TRIED_CELLS // len(features) ** 2))]
    if _failure(engine, [row for place, one in enumerate(features) for row in _tried(sample, place, one)]) is None:
        return tuple(feature.model_copy(update={"nullable": True}) for feature in features)
    return _proven_one_by_one(engine, features, sample)


def _tried(rows: Sequence[Row], place: int, feature: Feature) -> list[Row]:
    """Return copies of the rows with each value that must be answered in one column, and with none."""
    values = (*(encoding_of(feature).unseen_values or (True, False)), None)
    return [row for value in values for row in _with(rows, place, value)]


def _proven_one_by_one(engine: AnyEngine, features: tuple[Feature, ...], sample: Sequence[Row]) -> tuple[Feature, ...]:
    proven = []
    for place, feature in enumerate(features):
        for value in encoding_of(feature).unseen_values or (True, False):
            failure = _failure(engine, _with(sample, place, value))
            if failure:
                raise DataError(
                    f"the pipeline fails where column {feature.name!r} is {value!r}: {failure}; callers will send "
                    "values that training has not seen, so it must take them, as "
                    "OneHotEncoder(handle_unknown='ignore') does"
                )
        missing = _failure(engine, _with(sample, place, None))
        proven.append(feature.model_copy(update={"nullable": missing is None}))
    return tuple(proven)


def _with(rows: Sequence[Row], place: int, value: Value) -> list[Row]:
    return [(*row[:place], value, *row[place + 1 :]) for row in rows]


def _failure(engine: AnyEngine, rows: Sequence[Row]) -> str | None:
    """Return why rows are not answered with probabilities or numbers, None where they are."""
    try:
        answers = predictions_of(engine, rows)
    except Exception as error:  # noqa: BLE001 - a person's own pipeline may raise anything; each means the same
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if not isinstance(engine, Classifier):
        if answers.shape != (len(rows),):
            return "its answers are not one number for each row"
        return None if np.isfinite(answers).all() else "its answers are not finite numbers"
    if not (np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-6)):
        return "its answers are no probabilities"
    return None
