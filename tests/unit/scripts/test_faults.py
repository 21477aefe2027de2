from collections import Counter
from itertools import islice

import pytest

from scripts.load.errors import NoSuchTrafficError
from scripts.load.pool import ClassificationPool, Pool
from scripts.load.scenarios import FAULT_SHARE, UNSEEN_CATEGORY, bad_quality


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
