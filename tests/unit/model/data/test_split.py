"""Dividing the rows."""

import numpy as np
import pytest

from model.data.split import Shares, split_rows
from model.errors import DataError

CODES = np.repeat([0, 1, 2], [100, 60, 40])


def test_the_parts_share_no_row_and_together_hold_every_row() -> None:
    split = split_rows(CODES, Shares(), seed=1)
    parts = np.concatenate([split.train, split.test, split.reference])
    assert sorted(parts) == list(range(200))
    assert (len(split.train), len(split.test), len(split.reference)) == (100, 40, 60)


def test_each_class_has_the_same_share_in_every_part() -> None:
    split = split_rows(CODES, Shares(), seed=1)
    for part in (split.train, split.test, split.reference):
        np.testing.assert_allclose(np.bincount(CODES[part]) / len(part), [0.5, 0.3, 0.2], atol=0.03)


def test_the_seed_decides() -> None:
    same = [split_rows(CODES, Shares(), seed).test.tolist() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.0), (0.5, 0.2, 0.4), (1.2, -0.5, 0.3)])
def test_shares_that_do_not_divide_the_rows_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(DataError):
        Shares(*shares)


def test_a_class_too_small_for_every_part_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be divided"):
        split_rows(np.array([0] * 20 + [1]), Shares(), seed=0)
