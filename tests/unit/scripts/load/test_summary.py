import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scripts.load.summary import TRANSPORT_ERROR, Summary, as_json, percentile, show


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.001, 1), (0.991, 100)]
)
def test_percentiles_of_one_to_a_hundred(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], share) == expected


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.floats(0, 1e3), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_a_value_with_its_share_up_to_it(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6


def summary() -> Summary:
    made = Summary("steady", 3)
    made.record("200", 0.010, 0.0)
    made.record("200", 0.020, 0.1)
    return made


def test_a_clean_load_exits_with_0() -> None:
    assert summary().exit_status() == 0


def test_a_load_with_failures_exits_with_1() -> None:
    made = summary()
    made.record(TRANSPORT_ERROR, 1.0, 0.0)
    made.record_failure("steady: ReadTimeout", "steady: ReadTimeout: no answer")
    assert made.exit_status() == 1
    assert (made.sent, made.answered, made.failures) == (3, 2, 1)


def test_an_interrupted_load_exits_with_130() -> None:
    made = summary()
    made.interrupted = True
    assert made.exit_status() == 130


def test_only_requests_that_started_late_count_as_late() -> None:
    assert summary().late == 1


def test_the_summary_survives_json() -> None:
    read = json.loads(json.dumps(as_json(summary())))
    assert read["statuses"] == {"200": 2}
    assert read["latency_seconds"]["max"] == 0.02


def test_an_empty_summary_can_be_shown() -> None:
    shown = io.StringIO()
    show(Summary("steady", 10), Console(file=shown))
    assert "0 of 10" in shown.getvalue()


def test_text_of_the_api_is_shown_as_it_is_not_as_markup() -> None:
    made = summary()
    made.record_failure("steady: 500", "steady: [/nothing] [bold]")
    shown = io.StringIO()
    show(made, Console(file=shown, width=120))
    assert "[/nothing] [bold]" in shown.getvalue()
