"""Which inputs a pipeline takes: tried on missing values, new categories and extreme numbers."""

from collections.abc import Sequence

import numpy as np

from model.artifact.manifest import Feature, Value
from model.data.encoding import Row, encoding_of
from model.errors import DataError
from model.serving.engines import AnyEngine, Classifier, predictions_of

_TRIED_ROWS = 20
_MAX_TRIED_CELLS = 2_000_000
_MULTIPLES = (1e6, 1e4, 1e3, 100.0, 30.0, 10.0, 3.0, 1.0)
"""How far outside the seen range numbers are tried, in ranges, where the pipeline fails on the largest ones."""
_WAYS_OUT = (
    "; callers will send values that training has not seen, so it must take them, as "
    "OneHotEncoder(handle_unknown='ignore') does, or the API must refuse them: add --refuse-unseen"
)


def proven_features(
    engine: AnyEngine, features: tuple[Feature, ...], rows: Sequence[Row], *, refuse_unseen: bool = False
) -> tuple[Feature, ...]:
    """Return the features with what the pipeline was seen to take: missing values, numbers how far outside the range.

    Where it fails on a category that it has not seen, the feature becomes closed if `refuse_unseen`: callers will send
    such values, and then they are refused. Raises DataError where it fails on the rows themselves, on an unseen
    category otherwise, or on numbers a little outside the range.
    """
    failure = _failure(engine, rows)
    if failure:
        raise DataError(f"the pipeline cannot predict the test rows: {failure}")
    sample = rows[: max(2, min(_TRIED_ROWS, _MAX_TRIED_CELLS // len(features) ** 2))]
    if _failure(engine, [row for place, one in enumerate(features) for row in _tried(sample, place, one)]) is None:
        return tuple(feature.model_copy(update={"nullable": True, "closed": False}) for feature in features)
    return tuple(
        _proven(engine, sample, place, feature, refuse_unseen=refuse_unseen) for place, feature in enumerate(features)
    )


def _tried(rows: Sequence[Row], place: int, feature: Feature) -> list[Row]:
    """Return copies of the rows with each value that must be answered in one column, and with none."""
    values = (*(encoding_of(feature).unseen_values or (True, False)), None)
    return [row for value in values for row in _with(rows, place, value)]


def _proven(engine: AnyEngine, rows: Sequence[Row], place: int, feature: Feature, *, refuse_unseen: bool) -> Feature:
    found: dict[str, object] = {"nullable": _failure(engine, _with(rows, place, None)) is None}
    encoding = encoding_of(feature)
    for value in encoding.unseen_values or (True, False):
        failure = _failure(engine, _with(rows, place, value))
        if failure and encoding.is_number:
            found["clip"] = _proven_range(engine, rows, place, feature)
            break
        if failure and not (refuse_unseen and encoding.unseen_values):
            way_out = "" if feature.type == "boolean" else _WAYS_OUT
            raise DataError(f"the pipeline fails where column {feature.name!r} is {value!r}: {failure}{way_out}")
        found["closed"] = bool(failure)
    return feature.model_copy(update=found)


def _proven_range(engine: AnyEngine, rows: Sequence[Row], place: int, feature: Feature) -> tuple[float, float]:
    """Return the widest numbers that the pipeline answers, each end a multiple of the seen range outside it."""
    low, high = feature.minimum or 0.0, feature.maximum or 0.0
    seen = (high - low) or max(1.0, abs(high))
    for multiple in _MULTIPLES:
        ends = (low - multiple * seen, high + multiple * seen)
        if not any(_failure(engine, _with(rows, place, value)) for value in ends):
            return ends
    failure = next(filter(None, (_failure(engine, _with(rows, place, value)) for value in ends)))
    raise DataError(
        f"the pipeline fails where column {feature.name!r} is {ends[0]:g} or {ends[1]:g}, just outside what the rows "
        f"hold: {failure}; callers will send such numbers, so it must take them"
    )


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
