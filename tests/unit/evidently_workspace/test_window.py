from datetime import UTC, datetime, timedelta, timezone

import pytest

from evidently_workspace.window import Window

START = datetime(2026, 11, 23, 4, 45, tzinfo=UTC)


def test_the_key_names_both_ends_in_utc():
    assert Window(START, START + timedelta(minutes=5)).key == "2026-11-23T04:45:00Z/2026-11-23T04:50:00Z"


def test_the_title_is_for_a_person():
    assert Window(START, START + timedelta(minutes=5)).title == "2026-11-23 04:45 to 04:50 UTC"


def test_the_title_has_seconds_when_they_matter():
    assert Window(START, START + timedelta(seconds=20)).title == "2026-11-23 04:45:00 to 04:45:20 UTC"


def test_the_title_names_the_day_on_which_the_window_ends_when_it_is_another():
    assert Window(START, START + timedelta(days=1)).title == "2026-11-23 04:45 to 2026-11-24 04:45 UTC"


def test_evidently_gets_a_naive_utc_timestamp():
    assert Window(START, START + timedelta(minutes=5)).evidently_timestamp == datetime(2026, 11, 23, 4, 50)  # noqa: DTZ001 - naive is the point


@pytest.mark.parametrize(
    "start",
    [START.replace(tzinfo=None), START.astimezone(timezone(timedelta(hours=1)))],
    ids=["naive", "another zone"],
)
def test_ends_must_be_aware_utc(start):
    with pytest.raises(ValueError, match="aware UTC"):
        Window(start, START + timedelta(hours=5))


def test_a_window_must_have_a_length():
    with pytest.raises(ValueError, match="empty"):
        Window(START, START)
