"""How many rows are removed at once: as many as can be in a short time of the write lock."""

import pytest

from api.prediction_log.expiry import POSTGRESQL_PACE, SQLITE_PACE, Pace
from api.snapshots.retention import MIN_ROWS, next_batch


@pytest.mark.parametrize("pace", [SQLITE_PACE, POSTGRESQL_PACE])
@pytest.mark.parametrize(
    ("rows", "share", "expected"),
    [
        (1_000, 1.0, 1_000),
        (1_000, 2.0, 500),
        (1_000, 0.1, 2_000),
        (1_000, 0.0, 2_000),
        (None, 0.05, None),
        (200, 500.0, MIN_ROWS),
    ],
)
def test_a_batch_follows_the_time_that_the_one_before_took(
    pace: Pace, rows: int | None, share: float, expected: int | None
) -> None:
    """``share`` is that of the time that a batch should take; None stands for the most rows."""
    assert next_batch(rows or pace.max_rows, share * pace.batch_seconds, pace) == (expected or pace.max_rows)
