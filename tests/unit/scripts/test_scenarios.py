from collections import Counter
from itertools import islice

import numpy as np
import pytest

from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import ClassValue, Pool, Row
from scripts.load.scenarios import Sample, concept_drift, data_drift, drift_weights, steady, target_drift
from scripts.load.traffic import SCENARIOS

ROWS = 3000


def drawn(scenario: str, pool: Pool, seed: int = 1, rows: int = ROWS) -> list[Sample]:
    return list(islice(SCENARIOS[scenario](pool, seed), rows))


def label_of(pool: Pool) -> dict[str, ClassValue]:
    return {key(row): pool.classes[index] for row, index in zip(pool.rows, pool.class_indexes, strict=True)}


def key(row: Row) -> str:
    return repr(row)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_gives_the_same_rows_labels_and_order(name: str, pool: Pool) -> None:
    assert drawn(name, pool, seed=7) == drawn(name, pool, seed=7)


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_seed_gives_other_rows(name: str, pool: Pool) -> None:
    assert drawn(name, pool, seed=7) != drawn(name, pool, seed=8)


@pytest.mark.parametrize("name", ["steady", "data_drift", "target_drift"])
def test_rows_keep_their_own_labels_where_only_their_frequency_changes(name: str, pool: Pool) -> None:
    labels = label_of(pool)
    assert all(sample.label == labels[key(sample.row)] for sample in drawn(name, pool))


def test_steady_rows_have_the_distribution_of_the_pool(pool: Pool) -> None:
    ages = [sample.row["age"] for sample in islice(steady(pool, 1), ROWS)]
    assert np.mean(ages) == pytest.approx(np.mean([row["age"] for row in pool.rows]), abs=1)


@pytest.mark.parametrize("seed", range(10))
def test_data_drift_moves_a_column_by_more_than_one_deviation(pool: Pool, seed: int) -> None:
    spread = np.std([row["age"] for row in pool.rows])
    before = np.mean([row["age"] for row in pool.rows])
    after = np.mean([sample.row["age"] for sample in islice(data_drift(pool, seed), ROWS)])
    assert abs(after - before) > spread


def test_data_drift_of_a_model_without_numbers_moves_the_shares_of_categories(categories_only: Pool) -> None:
    before = Counter(row["colour"] for row in categories_only.rows)
    after = Counter(sample.row["colour"] for sample in islice(data_drift(categories_only, 1), ROWS))
    moved = [abs(after[colour] / ROWS - before[colour] / len(categories_only.rows)) for colour in before]
    assert max(moved) > 0.2


def test_data_drift_draws_from_many_rows_not_from_one_outlier() -> None:
    coordinates = np.random.default_rng(0).standard_normal((200, 4))
    coordinates[0] = 50
    coordinates = (coordinates - coordinates.mean(axis=0)) / coordinates.std(axis=0)
    weights = drift_weights(coordinates, 0)
    assert weights.sum() == pytest.approx(1)
    assert 1 / (weights**2).sum() > 10


def test_data_drift_is_refused_where_nothing_varies(pool: Pool) -> None:
    still = Pool(pool.features[:1], pool.classes, ({"age": 1.0},) * 5, pool.class_indexes[:5])
    with pytest.raises(NoSuchTrafficError, match="no feature varies"):
        next(data_drift(still, 0))


@pytest.mark.parametrize("seed", range(5))
def test_target_drift_makes_one_class_rare_and_leaves_the_inputs_of_each_class_alone(pool: Pool, seed: int) -> None:
    samples = list(islice(target_drift(pool, seed), ROWS))
    shares = Counter(sample.label for sample in samples)
    assert min(shares.values()) / ROWS < 0.05
    common = shares.most_common(1)[0][0]
    own = [
        row["age"] for row, index in zip(pool.rows, pool.class_indexes, strict=True) if pool.classes[index] == common
    ]
    now = [sample.row["age"] for sample in samples if sample.label == common]
    assert np.mean(now) == pytest.approx(np.mean(own), abs=np.std(own) / 3)


def test_concept_drift_leaves_the_inputs_alone(pool: Pool) -> None:
    changed, unchanged = list(islice(concept_drift(pool, 1), ROWS)), list(islice(steady(pool, 1), ROWS))
    assert [sample.row for sample in changed] == [sample.row for sample in unchanged]


def test_concept_drift_changes_about_half_of_the_labels_and_hardly_their_shares(pool: Pool) -> None:
    labels = label_of(pool)
    samples = list(islice(concept_drift(pool, 1), ROWS))
    wrong = sum(sample.label != labels[key(sample.row)] for sample in samples) / ROWS
    assert 0.25 <= wrong <= 0.75
    before = Counter(labels[key(sample.row)] for sample in samples)
    after = Counter(sample.label for sample in samples)
    assert max(abs(after[label] - before[label]) for label in pool.classes) / ROWS < 0.15


def test_concept_drift_depends_on_the_inputs_not_on_chance(pool: Pool) -> None:
    seen: dict[str, ClassValue] = {}
    for sample in islice(concept_drift(pool, 1), ROWS):
        assert seen.setdefault(key(sample.row), sample.label) == sample.label
