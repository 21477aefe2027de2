"""Requests that the API must refuse, each for one reason, in a seeded mix."""

import uuid
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import orjson

from scripts.load.pool import LabelValue, Pool, RegressionPool, Row
from scripts.load.scenarios import FEEDBACK, PREDICT, PREDICT_BATCH, Call, Expectation

MAX_ROWS = 10_000
OVERSIZED_BYTES = 20 * 2**20
_RARE = frozenset({"oversized body", "too many rows"})
_RARE_WEIGHT = 0.05

Maker = Callable[[Pool, np.random.Generator], Call]


def bad_requests(pool: Pool, seed: int) -> Iterator[Call]:
    """Yield malformed requests without end; the same pool and seed give the same ones.

    Each kind comes once before any comes again. After that the two kinds with bodies of megabytes come
    rarely, so that this stays a load of requests, not of bytes.
    """
    rng = np.random.default_rng((seed, 6))
    kinds = list(_MAKERS)
    weights = np.array([_RARE_WEIGHT if kind in _RARE else 1.0 for kind in kinds])
    for place in rng.permutation(len(kinds)):
        yield _MAKERS[kinds[place]](pool, rng)
    while True:
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        yield _MAKERS[kind](pool, rng)


def _refused(kind: str, body: bytes, path: str = PREDICT) -> Call:
    return Call(path, body, (kind,), expected=Expectation.REFUSAL)


def _row(pool: Pool, rng: np.random.Generator) -> Row:
    return dict(pool.rows[rng.integers(len(pool.rows))])


def _name(pool: Pool, rng: np.random.Generator) -> str:
    return pool.features[rng.integers(len(pool.features))].name


def _wrong_type(pool: Pool, rng: np.random.Generator) -> Call:
    # A list is the wrong type for a number, a category and a boolean alike.
    return _refused("wrong type", orjson.dumps(_row(pool, rng) | {_name(pool, rng): ["not", "a", "value"]}))


def _missing_field(pool: Pool, rng: np.random.Generator) -> Call:
    row = _row(pool, rng)
    del row[_name(pool, rng)]
    return _refused("missing field", orjson.dumps(row))


def _unknown_field(pool: Pool, rng: np.random.Generator) -> Call:
    return _refused("unknown field", orjson.dumps(_row(pool, rng) | {"no_such_feature": 1.0}))


def _nan_literal(pool: Pool, rng: np.random.Generator) -> Call:
    marked = orjson.dumps(_row(pool, rng) | {_name(pool, rng): "here"})
    literal = (b"NaN", b"Infinity", b"-Infinity")[rng.integers(3)]
    return _refused("NaN or infinity", marked.replace(b'"here"', literal, 1))


def _not_json(pool: Pool, rng: np.random.Generator) -> Call:
    whole = orjson.dumps(_row(pool, rng))
    return _refused("not JSON", whole[: rng.integers(len(whole) - 1)])


def _oversized(_: Pool, __: np.random.Generator) -> Call:
    return _refused("oversized body", _padded_object())


@cache
def _padded_object() -> bytes:
    """Return the one body that all oversized requests share, as many of them may wait at once."""
    return b"{" + b" " * OVERSIZED_BYTES + b"}"


def _too_many_rows(pool: Pool, rng: np.random.Generator) -> Call:
    row = orjson.dumps(_row(pool, rng))
    return _refused("too many rows", b'{"rows":[' + b",".join([row] * (MAX_ROWS + 1)) + b"]}", PREDICT_BATCH)


def _unknown_prediction(pool: Pool, rng: np.random.Generator) -> Call:
    # A label may arrive before its prediction or without one, so the API answers with a list of such ids instead of
    # an error, and stores nothing for them.
    return Call(
        FEEDBACK, _feedback(rng, _label(pool, rng)), ("unknown prediction id",), expected=Expectation.UNKNOWN_ID
    )


def _malformed_prediction(pool: Pool, rng: np.random.Generator) -> Call:
    body = {"labels": [{"prediction_id": 12, "label": _label(pool, rng)}]}
    return _refused("malformed prediction id", orjson.dumps(body), FEEDBACK)


def _wrong_label(pool: Pool, rng: np.random.Generator) -> Call:
    if isinstance(pool, RegressionPool):
        return _refused("label that is no number", _feedback(rng, ("12.5", True, "")[rng.integers(3)]), FEEDBACK)
    return _refused("label outside the classes", _feedback(rng, "no such class"), FEEDBACK)


def _label(pool: Pool, rng: np.random.Generator) -> LabelValue:
    return pool.labels[rng.integers(len(pool.labels))]


def _feedback(rng: np.random.Generator, label: LabelValue) -> bytes:
    unknown = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    return orjson.dumps({"labels": [{"prediction_id": unknown, "label": label}]})


_MAKERS: dict[str, Maker] = {
    "wrong type": _wrong_type,
    "missing field": _missing_field,
    "unknown field": _unknown_field,
    "NaN or infinity": _nan_literal,
    "not JSON": _not_json,
    "oversized body": _oversized,
    "too many rows": _too_many_rows,
    "unknown prediction id": _unknown_prediction,
    "malformed prediction id": _malformed_prediction,
    "wrong label": _wrong_label,
}
