"""The scenarios: each is a seeded, endless stream of labelled rows from a pool, and the requests made from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

import numpy as np
import orjson
from numpy.typing import NDArray

from model.artifact.manifest import Feature
from model.data.encoding import UNSEEN_CATEGORY, category_features, encoding_of, number_features
from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import ClassificationPool, LabelValue, Matrix, Pool, RegressionPool, Row

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
FEEDBACK = "/feedback"
_CHUNK = 512
_DRIFT_SHIFT = 1.25
_DRIFT_STRENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_RARE_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """One row to predict, its true label, and what kind of row it is, for the summary."""

    row: Row
    label: LabelValue
    kind: str


Scenario = Callable[[Pool, int], Iterator[Sample]]


def steady(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows drawn with replacement, distributed as when the model was trained."""
    return _drawn(pool, seed, "steady", None, pool.labels)


def data_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows under covariate shift: P(inputs) moves and P(label | inputs) stays.

    Rows keep their own labels and are only drawn with unequal weights, so nothing but the distribution of the
    inputs can change (Shimodaira 2000, "Improving predictive inference under covariate shift by weighting the
    log-likelihood function"). The weights are exp(k * z), the exponential tilt, with z the standardized
    position along a seeded direction; for normal inputs that moves the mean by k deviations along it.
    """
    return _drawn(pool, seed, "data_drift", drift_weights(pool.coordinates(), seed), pool.labels)


def target_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows under label shift: one common class, or the upper or lower half of the numbers, becomes rare.

    P(inputs | label) stays. The class is seeded among those with at least an even share of the rows, so that its loss
    is large. Where labels do not follow from the inputs alone, the same inputs then have other labels more often: for
    numbers above all that is a change of their relation too, and raises concept drift beside target drift.
    """
    if isinstance(pool, RegressionPool):
        weights = rare_half_weights(pool.numbers, seed)
    else:
        weights = rare_class_weights(pool.class_indexes, seed)
    return _drawn(pool, seed, "target_drift", weights, pool.labels)


def concept_drift(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield rows as in `steady` whose labels no longer follow from the inputs as they did.

    The inputs keep their distribution. Of classes, each becomes the next one on one side of a split of one feature,
    so accuracy falls by about the share of rows on that side. Numbers are mirrored: high ones become low.
    """
    return _drawn(pool, seed, "concept_drift", None, changed_labels(pool))


def drift_weights(coordinates: Matrix, seed: int) -> Matrix:
    """Return the probability of drawing each row so that at least one column's mean moves 1.25 deviations.

    `coordinates` has shape (rows, columns), standardized. The direction is a random vector after one
    multiplication with the correlation matrix, which leans it towards what the columns share: a plain random
    direction among 30 columns would move each of them only a little. Positions beyond 2 are cut to 2, so that
    no single outlier is drawn alone. The weakest strength k that reaches the shift is taken.
    """
    rng = np.random.default_rng((seed, 1))
    correlation = coordinates.T @ coordinates / len(coordinates)
    position = coordinates @ (correlation @ rng.standard_normal(coordinates.shape[1]))
    position = np.clip((position - position.mean()) / position.std(), -2.0, 2.0)
    weights = np.full(len(coordinates), 1 / len(coordinates))
    for strength in _DRIFT_STRENGTHS:
        weights = np.exp(strength * position)
        weights /= weights.sum()
        if np.abs(weights @ coordinates).max() >= _DRIFT_SHIFT:
            break
    return weights


def rare_class_weights(class_indexes: NDArray[np.int64], seed: int) -> Matrix:
    """Return the probability of drawing each row so that one common class has a share of 2 %."""
    rng = np.random.default_rng((seed, 2))
    present, counts = np.unique(class_indexes, return_counts=True)
    common = present[counts * len(present) >= len(class_indexes)]
    is_rare = class_indexes == rng.choice(common)
    weights = np.where(is_rare, _RARE_SHARE / is_rare.sum(), (1 - _RARE_SHARE) / max((~is_rare).sum(), 1))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def rare_half_weights(numbers: Matrix, seed: int) -> Matrix:
    """Return the probability of drawing each row so that the numbers above, or up to, the median have a share of 2 %.

    Raises NoSuchTrafficError where all the numbers are the same.
    """
    rng = np.random.default_rng((seed, 2))
    median = np.median(numbers)
    high = numbers > median if (numbers > median).any() else numbers >= median
    if high.all():
        raise NoSuchTrafficError("all labels of the hold-out rows are the same number, so none can become rare")
    is_rare = high == bool(rng.integers(2))
    weights = np.where(is_rare, _RARE_SHARE / is_rare.sum(), (1 - _RARE_SHARE) / (~is_rare).sum())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _drawn(pool: Pool, seed: int, kind: str, weights: Matrix | None, labels: Sequence[LabelValue]) -> Iterator[Sample]:
    rng = np.random.default_rng((seed, 0))
    while True:
        for index in rng.choice(len(pool.rows), size=_CHUNK, p=weights).tolist():
            yield Sample(pool.rows[index], labels[index], kind)


Side = NDArray[np.bool_]


def changed_labels(pool: Pool) -> Sequence[LabelValue]:
    """Return the label of each row under another relation between inputs and labels.

    Raises NoSuchTrafficError where the rows allow none.
    """
    if isinstance(pool, RegressionPool):
        return tuple(mirrored_numbers(pool.numbers).tolist())
    return pool.named(swapped_classes(pool))


def mirrored_numbers(numbers: Matrix) -> Matrix:
    """Return numbers of which the highest has changed places with the lowest, the second with the second lowest.

    Inputs that meant a high number now mean a low one, while the distribution of the numbers stays exactly the same:
    the alarm should be about the relation. Raises NoSuchTrafficError where all the numbers are the same.
    """
    if np.ptp(numbers) == 0:
        raise NoSuchTrafficError("all labels of the hold-out rows are the same number, so no relation can be changed")
    order = np.argsort(numbers, kind="stable")
    mirrored = np.empty_like(numbers)
    mirrored[order] = numbers[order[::-1]]
    return mirrored


def swapped_classes(pool: ClassificationPool) -> NDArray[np.int64]:
    """Return the class index of each row after every row on one side of a split got the next class.

    Of all splits that put a quarter to three quarters of the rows on one side, the one is taken whose swap
    moves the shares of the classes least: the alarm should be about the relation, not about the label's own
    distribution. Raises NoSuchTrafficError if no feature can be split so.
    """
    candidates = [_swap(pool, side) for side in _sides(pool) if 0.25 <= side.mean() <= 0.75]
    if not candidates:
        raise NoSuchTrafficError("no feature splits the hold-out rows, so no relation can be changed on one side of it")
    return min(candidates, key=lambda swapped: _share_change(pool, swapped))


def _sides(pool: Pool) -> Iterator[Side]:
    for feature in pool.features:
        cells = [row[feature.name] for row in pool.rows]
        if encoding_of(feature).is_number:
            numbers = np.array(cells, dtype=np.float64)
            if not np.isnan(numbers).all():
                yield numbers > np.nanmedian(numbers)
        else:
            for value in sorted({cell for cell in cells if cell is not None}):
                yield np.array([cell == value for cell in cells])


def _swap(pool: ClassificationPool, side: Side) -> NDArray[np.int64]:
    following = (pool.class_indexes + 1) % len(pool.classes)
    return np.where(side, following, pool.class_indexes)


def _share_change(pool: ClassificationPool, swapped: NDArray[np.int64]) -> float:
    before = np.bincount(pool.class_indexes, minlength=len(pool.classes))
    after = np.bincount(swapped, minlength=len(pool.classes))
    return float(np.abs(after - before).sum())


FAULT_SHARE = 0.45
_UNIT_ERROR = 1000.0

Fault = Callable[[Row], Row]


def bad_quality(pool: Pool, seed: int) -> Iterator[Sample]:
    """Yield steady rows of which a share has one fault: a missing value, a unit error or an unseen category.

    Each kind of fault stays in one seeded column, as with a broken source, so that the share of faults in that
    column is large. Raises NoSuchTrafficError if the model's features allow none of them.
    """
    faults = _faults(pool, np.random.default_rng((seed, 3)))
    if not faults:
        raise NoSuchTrafficError("no feature is nullable, a number or a category, so no row can get a fault")
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
    numbers = number_features(pool.features)
    categories = category_features(pool.features)
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


class Expectation(Enum):
    """The answer of a correct API."""

    SUCCESS = "200"
    REFUSAL = "4xx with a problem document"
    UNKNOWN_ID = "200 that lists the prediction id as unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    `kinds` has the kind of each row; a malformed request counts as one row. `labels` has one entry per row, None
    where no label will follow.
    """

    path: str
    body: bytes
    kinds: tuple[str, ...]
    labels: tuple[LabelValue | None, ...] = ()
    expected: Expectation = Expectation.SUCCESS


def prediction_calls(samples: Iterator[Sample], *, batch: int, label_share: float, seed: int) -> Iterator[Call]:
    """Yield requests of `batch` rows each, without end if the samples have none.

    A batch of 1 goes to the single-row endpoint. The seed and the row's place in the stream
    decide which rows get labels, so the answers of the API do not matter.
    """
    rng = np.random.default_rng((seed, 5))
    while rows := list(islice(samples, batch)):
        labelled = rng.random(len(rows)) < label_share
        yield Call(
            PREDICT if batch == 1 else PREDICT_BATCH,
            orjson.dumps(rows[0].row if batch == 1 else {"rows": [sample.row for sample in rows]}),
            tuple(sample.kind for sample in rows),
            tuple(sample.label if chosen else None for sample, chosen in zip(rows, labelled, strict=True)),
        )
