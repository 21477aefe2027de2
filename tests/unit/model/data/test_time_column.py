"""Times in the forms that files have, and errors that say what to do."""

from datetime import UTC, datetime

import pytest

from model.data.time_column import read_times, zone_of
from model.errors import DataError

EIGHT = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
PARIS = "Europe/Paris"


@pytest.mark.parametrize(
    ("texts", "zone"),
    [
        (["2026-11-23T08:00:00Z", "2026-11-23T09:00:00+01:00"], "UTC"),
        (["2026-11-23 08:00", "2026-11-23 08:00:00.000"], "UTC"),
        (["2026-11-23 09:00", "2026-11-23T08:00Z"], PARIS),
        (["23/11/2026 09:00"] * 2, PARIS),
        (["11/23/2026 8:00 AM"] * 2, "UTC"),
        (["23.11.26 08:00:00"] * 2, "UTC"),
        ([f"{EIGHT:.0f}"] * 2, PARIS),
        ([f"{EIGHT * 1000:.0f}"] * 2, PARIS),
        ([f"{EIGHT:.3f}"] * 2, "UTC"),
    ],
)
def test_times_in_the_usual_forms_are_the_same_moment(texts: list[str], zone: str) -> None:
    assert read_times("when", texts, [2, 3], zone_of(zone)).seconds.tolist() == [EIGHT, EIGHT]


@pytest.mark.parametrize("text", ["2026-11-23", "20261123", "23/11/2026"])
def test_a_date_is_its_first_moment(text: str) -> None:
    assert read_times("day", [text], [2], zone_of("UTC")).seconds.tolist() == [EIGHT - 8 * 3600]


def test_an_hour_that_a_clock_skips_or_repeats_is_read_without_an_error() -> None:
    texts = ["2026-03-29 02:30", "2026-10-25 02:30"]
    skipped, repeated = read_times("when", texts, [2, 3], zone_of(PARIS)).seconds
    assert datetime.fromtimestamp(skipped, UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert datetime.fromtimestamp(repeated, UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2026-11-23", ""], "column 'when', line 3: the time is missing; every row needs one"),
        (["2026-11-23", "soon"], "column 'when', line 3: 'soon' is not a time"),
        (["hello", "soon"], "column 'when', line 2 (and 1 more): 'hello' is not a time"),
        (["12", "13"], "column 'when', line 2: '12' is not a time"),
        (["01/02/2026", "03/02/2026"], "may have the day or the month first; write the times as 2026-11-23 08:00"),
        (["23/11/2026", "2026-11-23"], "column 'when', line 3: '2026-11-23' is not a time, as the others"),
        (["31/02/2026", "23/11/2026"], "column 'when', line 2: '31/02/2026' is not a time"),
        (["23/11/2026 25:00"] * 2, "column 'when', line 2: '23/11/2026 25:00' is not a time"),
    ],
)
def test_what_is_no_time_is_named_with_its_line(texts: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_times("when", texts, [2, 3], zone_of("UTC"))
    assert message in str(caught.value)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(DataError, match="'Mars/Base' is no time zone"):
        zone_of("Mars/Base")
