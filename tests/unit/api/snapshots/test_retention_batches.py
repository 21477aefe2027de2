"""How many rows are removed at once: as many as can be in a short time of the write lock."""

import pytest

from api.snapshots.retention import BATCH_SECONDS, MAX_ROWS, MIN_ROWS, next_batch


@pytest.mark.parametrize(
    ("rows", "seconds", "expected"),
    [
        (1_000, BATCH_SECONDS, 1_000),
        (1_000, BATCH_SECONDS * 2, 500),
        (1_000, BATCH_SECONDS / 10, 2_000),
        (1_000, 0.0, 2_000),
        (MAX_ROWS, 0.001, MAX_ROWS),
        (200, 10.0, MIN_ROWS),
    ],
)
def test_a_batch_follows_the_time_that_the_one_before_took(rows: int, seconds: float, expected: int) -> None:
    assert next_batch(rows, seconds) == expected
