"""Rows that a careless upstream would send: acceptable to the API, wrong in the world."""

from collections.abc import Callable, Iterator

import numpy as np

from model.manifest import Feature
from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import Pool, Row
from scripts.load.scenarios import Sample, steady

FAULT_SHARE = 0.45
_UNIT_ERROR = 1000.0
UNSEEN_CATEGORY = "never seen in training"

Fault = Callable[[Row], Row]


def bad_quality(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield steady rows of which a share has one fault: a missing value, a unit error or an unseen category.

    Each fault stays in one seeded column, as a broken source would do it, so that the column's own share of
    faults is large. Raises NoSuchTrafficError if the model's features allow none of them.
    """
    faults = _faults(pool, np.random.default_rng((seed, 3)))
    if not faults:
        raise NoSuchTrafficError("no feature is nullable, a number or a category, so no row can be made worse")
    return _spoiled(pool, seed, faults)


def _spoiled(pool: Pool, seed: int, faults: list[tuple[str, Fault]]) -> Iterator[Sample]:
    rng = np.random.default_rng((seed, 4))
    for sample in steady(pool, seed):
        if rng.random() >= FAULT_SHARE:
            yield Sample(sample.row, sample.label, "sound")
            continue
        kind, fault = faults[rng.integers(len(faults))]
        yield Sample(fault(sample.row), sample.label, kind)


def _faults(pool: Pool, rng: np.random.Generator) -> list[tuple[str, Fault]]:
    nullable = [feature for feature in pool.features if feature.nullable]
    numbers = [feature for feature in pool.features if feature.type == "number"]
    categories = [feature for feature in pool.features if feature.type == "category"]
    choices = (
        ("missing value", nullable, _without),
        ("unit error", numbers, _scaled),
        ("unseen category", categories, _unseen),
    )
    return [(kind, make(_pick(features, rng))) for kind, features, make in choices if features]


def _pick(features: list[Feature], rng: np.random.Generator) -> Feature:
    return features[rng.integers(len(features))]


def _without(feature: Feature) -> Fault:
    return lambda row: row | {feature.name: None}


def _scaled(feature: Feature) -> Fault:
    low, high = feature.minimum or 0.0, feature.maximum or 0.0
    far_above = (abs(high) + (high - low) + 1.0) * _UNIT_ERROR

    def fault(row: Row) -> Row:
        value = (row[feature.name] or 0.0) * _UNIT_ERROR
        # A zero stays zero in any unit; such a row gets a number that is far outside all the same.
        return row | {feature.name: far_above if low <= value <= high else value}

    return fault


def _unseen(feature: Feature) -> Fault:
    return lambda row: row | {feature.name: UNSEEN_CATEGORY}
