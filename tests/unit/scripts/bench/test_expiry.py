"""The expiring benchmark: what it is asked, and what it reads."""

import pytest

from scripts.bench.__main__ import build_parser
from scripts.bench.expiry import REMOVED


def test_by_default_it_is_a_million_rows_beside_fifty_predictions_a_second() -> None:
    options = build_parser().parse_args(["expiring"])
    assert (options.rows, options.rate, options.duration) == (1_000_000, 50, 60)


@pytest.mark.parametrize("removed", ["0.0", "1e+06"])
def test_what_went_is_read_from_the_metrics(removed: str) -> None:
    name = "vigie_retention_removed_total"
    found = REMOVED.search(f'{name}{{kind="labels"}} 7.0\n{name}{{kind="predictions"}} {removed}\n')
    assert found is not None
    assert found[1] == removed
