from collections import Counter
from itertools import islice

import numpy as np
import pytest

from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import ClassificationPool, LabelValue, Pool, RegressionPool, Row
from scripts.load.scenarios import (
    FAULT_SHARE,
    UNSEEN_CATEGORY,
    Sample,
    bad_quality,
    changed_labels,
    concept_drift,
    data_drift,
    drift_weights,
    steady,
    target_drift,
)
from scripts.load.traffic import SCENARIOS

ROWS = 3000


def drawn(scenario: str, pool: Pool, seed: int = 1, rows: int = ROWS) -> list[Sample]:
    return list(islice(SCENARIOS[scenario](pool, seed), rows))


def label_of(pool: Pool) -> dict[str, LabelValue]:
    return {key(row): label for row, label in zip(pool.rows, pool.labels, strict=True)}


def key(row: Row) -> str:
    return repr(row)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_gives_the_same_rows_labels_and_order(name: str, either_pool: Pool) -> None:
    assert drawn(name, either_pool, seed=7) == drawn(name, either_pool, seed=7)


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_seed_gives_other_rows(name: str, either_pool: Pool) -> None:
    assert drawn(name, either_pool, seed=7) != drawn(name, either_pool, seed=8)


@pytest.mark.parametrize("name", ["steady", "data_drift", "target_drift"])
def test_rows_keep_their_own_labels_where_only_their_frequency_changes(name: str, either_pool: Pool) -> None:
    labels = label_of(either_pool)
    assert all(sample.label == labels[key(sample.row)] for sample in drawn(name, either_pool))


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
    still = RegressionPool(pool.features[:1], ({"age": 1.0},) * 5, np.arange(5.0))
    with pytest.raises(NoSuchTrafficError, match="no feature varies"):
        next(data_drift(still, 0))


@pytest.mark.parametrize("seed", range(5))
def test_target_drift_makes_one_class_rare_and_leaves_the_inputs_of_each_class_alone(
    pool: ClassificationPool, seed: int
) -> None:
    samples = list(islice(target_drift(pool, seed), ROWS))
    shares = Counter(sample.label for sample in samples)
    assert min(shares.values()) / ROWS < 0.05
    common = shares.most_common(1)[0][0]
    own = [row["age"] for row, label in zip(pool.rows, pool.labels, strict=True) if label == common]
    now = [sample.row["age"] for sample in samples if sample.label == common]
    assert np.mean(now) == pytest.approx(np.mean(own), abs=np.std(own) / 3)


@pytest.mark.parametrize("seed", range(4))
def test_target_drift_of_numbers_makes_the_upper_or_the_lower_half_rare(
    regression_pool: RegressionPool, seed: int
) -> None:
    median = np.median(regression_pool.numbers)
    labels = np.array([sample.label for sample in islice(target_drift(regression_pool, seed), ROWS)])
    above = np.mean(labels > median)
    assert min(above, 1 - above) == pytest.approx(0.02, abs=0.01)
    moved = abs(labels.mean() - regression_pool.numbers.mean()) / regression_pool.numbers.std()
    assert moved > 0.5


def test_target_drift_takes_either_half_by_the_seed(regression_pool: RegressionPool) -> None:
    means = [
        np.mean([sample.label for sample in islice(target_drift(regression_pool, seed), 100)]) for seed in range(8)
    ]
    assert min(means) < regression_pool.numbers.mean() < max(means)


@pytest.mark.parametrize("ties", [(0.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0), (5.0, 5.0, 7.0, 7.0)])
def test_target_drift_of_numbers_with_ties_is_still_a_drift(
    regression_pool: RegressionPool, ties: tuple[float, ...]
) -> None:
    tied = RegressionPool(regression_pool.features, regression_pool.rows[:4], np.array(ties))
    shares = Counter(sample.label for sample in islice(target_drift(tied, 1), ROWS))
    assert min(shares[value] for value in set(ties)) / ROWS < 0.05


@pytest.mark.parametrize("scenario", ["target_drift", "concept_drift"])
def test_labels_that_are_all_the_same_number_cannot_drift(regression_pool: RegressionPool, scenario: str) -> None:
    still = RegressionPool(regression_pool.features, regression_pool.rows, np.full(len(regression_pool.rows), 3.0))
    with pytest.raises(NoSuchTrafficError, match="all labels of the hold-out rows are the same number"):
        next(SCENARIOS[scenario](still, 0))


def test_concept_drift_of_numbers_turns_the_relation_round_and_keeps_their_distribution(
    regression_pool: RegressionPool,
) -> None:
    labels = label_of(regression_pool)
    samples = list(islice(concept_drift(regression_pool, 1), ROWS))
    before = np.array([labels[key(sample.row)] for sample in samples])
    after = np.array([sample.label for sample in samples])
    ages = [sample.row["age"] for sample in samples]
    assert np.corrcoef(before, ages)[0, 1] < -0.9
    assert np.corrcoef(after, ages)[0, 1] > 0.9
    assert sorted(changed_labels(regression_pool)) == sorted(regression_pool.labels)


def test_concept_drift_leaves_the_inputs_alone(either_pool: Pool) -> None:
    changed, unchanged = list(islice(concept_drift(either_pool, 1), ROWS)), list(islice(steady(either_pool, 1), ROWS))
    assert [sample.row for sample in changed] == [sample.row for sample in unchanged]


def test_concept_drift_changes_about_half_of_the_labels_and_hardly_their_shares(pool: ClassificationPool) -> None:
    labels = label_of(pool)
    samples = list(islice(concept_drift(pool, 1), ROWS))
    wrong = sum(sample.label != labels[key(sample.row)] for sample in samples) / ROWS
    assert 0.25 <= wrong <= 0.75
    before = Counter(labels[key(sample.row)] for sample in samples)
    after = Counter(sample.label for sample in samples)
    assert max(abs(after[label] - before[label]) for label in pool.classes) / ROWS < 0.15


def test_concept_drift_depends_on_the_inputs_not_on_chance(either_pool: Pool) -> None:
    seen: dict[str, LabelValue] = {}
    for sample in islice(concept_drift(either_pool, 1), ROWS):
        assert seen.setdefault(key(sample.row), sample.label) == sample.label


def test_a_share_of_the_rows_has_one_fault_each(pool: Pool) -> None:
    samples = list(islice(bad_quality(pool, 1), 2000))
    kinds = Counter(sample.kind for sample in samples)
    assert set(kinds) == {"sound", "missing value", "unit error", "unseen category"}
    assert 1 - kinds["sound"] / 2000 == pytest.approx(FAULT_SHARE, abs=0.05)


def test_faulty_rows_stay_within_what_the_schema_allows(pool: Pool) -> None:
    types = {"age": float, "income": float | None, "colour": str | None, "member": bool}
    for sample in islice(bad_quality(pool, 2), 2000):
        assert list(sample.row) == list(types)
        assert all(isinstance(sample.row[name], kind) for name, kind in types.items())


def test_a_unit_error_is_far_outside_the_training_range(pool: Pool) -> None:
    ranges = {feature.name: (feature.minimum, feature.maximum) for feature in pool.features[:2]}
    for sample in islice(bad_quality(pool, 3), 2000):
        if sample.kind == "unit error":
            assert any(
                sample.row[name] is not None and not low <= sample.row[name] <= high
                for name, (low, high) in ranges.items()
                if low is not None and high is not None
            )


def test_an_unseen_category_is_none_of_the_models(pool: Pool) -> None:
    faulty = [sample for sample in islice(bad_quality(pool, 4), 2000) if sample.kind == "unseen category"]
    assert {sample.row["colour"] for sample in faulty} == {UNSEEN_CATEGORY}


def test_a_model_that_allows_no_fault_is_refused(pool: ClassificationPool) -> None:
    booleans = ClassificationPool(pool.features[3:], ({"member": True},), pool.classes, pool.class_indexes[:1])
    with pytest.raises(NoSuchTrafficError):
        bad_quality(booleans, 0)
