"""How the tiers of retention are written, and which snapshots stay as windows age.

A window here is a stand-in with an end and its failed checks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.settings import Settings
from api.snapshots.retention_tiers import DEFAULT_TIERS, Tier, parse_tiers, windows_to_remove

DEFAULT = parse_tiers(DEFAULT_TIERS)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_the_default_tiers_thin_out_after_a_day_a_week_and_three_months() -> None:
    assert Settings().retention_policy.tiers == (
        Tier(None, 24 * HOUR, 7 * DAY),
        Tier(HOUR, 7 * DAY, 30 * DAY),
        Tier(6 * HOUR, 90 * DAY),
        Tier(DAY, None),
    )


def test_a_tier_has_a_spacing_an_end_and_another_for_failed_windows() -> None:
    assert parse_tiers("all:90m, 2h:3d:4d") == (
        Tier(None, timedelta(minutes=90)),
        Tier(timedelta(hours=2), timedelta(days=3), timedelta(days=4)),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no tier: write SPACING"),
        ("1h:2d:3d:4d", "is no tier"),
        ("hourly:2d", "'hourly' in 'hourly:2d' is no time"),
        ("0h:2d", "'0h' in"),
        ("1h:-2d", "'-2d' in"),
        ("all, 1h:2d", "only the last tier may be without an end"),
        ("all:2d, 1h:1d", "must last longer"),
        ("1h:2d, all:3d", "must be wider"),
        ("6h:2d, 1h:3d", "must be wider"),
        ("all:2d:1d", "windows with failed checks cannot be kept for less time"),
    ],
)
def test_what_is_no_tier_is_refused_with_what_to_do(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_tiers(text)


def test_a_wrong_setting_names_itself() -> None:
    with pytest.raises(ValueError, match="snapshot_tiers"):
        Settings(snapshot_tiers="sometimes")
    with pytest.raises(ValueError, match="VIGIE_REPORTS_KEEP_FAILED_DAYS"):
        Settings(reports_keep_days=10, reports_keep_failed_days=5)


START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)


@dataclass(frozen=True)
class Ended:
    end: datetime
    failed_checks: tuple[str, ...] = ()


def ended(count: int, failed: Iterable[int] = ()) -> list[Ended]:
    bad = set(failed)
    return [Ended(START + (i + 1) * STEP, ("data_drift",) if i in bad else ()) for i in range(count)]


def survivors(windows: list[Ended], now: datetime, tiers: tuple[Tier, ...] = DEFAULT) -> list[Ended]:
    removed = set(windows_to_remove(windows, now, tiers))
    return [window for window in windows if window not in removed]


def test_nothing_goes_within_the_first_day() -> None:
    windows = ended(288)
    assert windows_to_remove(windows, windows[-1].end, DEFAULT) == []


def test_a_quiet_year_at_five_minutes_keeps_about_a_thousand_snapshots_and_its_first_and_last_day() -> None:
    windows = ended(365 * 288)
    left = survivors(windows, windows[-1].end)
    assert 1_000 < len(left) < 1_100
    assert left[0] == windows[0]
    assert left[-288:] == windows[-288:]


def test_a_year_in_which_every_window_failed_is_bounded_too() -> None:
    windows = ended(365 * 288, failed=range(365 * 288))
    assert len(survivors(windows, windows[-1].end)) < 3_200


def test_the_survivors_lie_an_hour_six_hours_and_a_day_apart() -> None:
    windows = ended(100 * 288)
    now = windows[-1].end
    left = survivors(windows, now)
    for spacing, youngest, oldest in ((1, 1, 7), (6, 7, 90), (24, 90, 100)):
        ends = [window.end for window in left if youngest * 24 < (now - window.end) / timedelta(hours=1) < oldest * 24]
        gaps = {later - earlier for earlier, later in pairwise(ends)}
        assert gaps == {timedelta(hours=spacing)}


def test_a_window_with_failed_checks_stays_where_quiet_ones_go() -> None:
    windows = ended(3 * 288, failed=[7, 8])
    assert windows[7] in survivors(windows, windows[-1].end)
    assert windows[8] in survivors(windows, windows[-1].end)
    assert windows[9] not in survivors(windows, windows[-1].end)


def test_of_an_old_day_the_window_with_failed_checks_is_the_one_that_stays() -> None:
    windows = ended(288, failed=[100, 101])
    assert survivors(windows, START + timedelta(days=200)) == [windows[100]]


def test_windows_older_than_the_last_tier_all_go() -> None:
    windows = ended(288)
    tiers = (Tier(None, timedelta(hours=1)),)
    assert windows_to_remove(windows, START + timedelta(days=2), tiers) == windows


def test_what_is_to_be_removed_comes_oldest_first_whatever_the_order_of_the_windows() -> None:
    windows = ended(600)
    now = START + timedelta(days=5)
    assert windows_to_remove(windows[::-1], now, DEFAULT) == windows_to_remove(windows, now, DEFAULT)
    ends = [window.end for window in windows_to_remove(windows, now, DEFAULT)]
    assert ends == sorted(ends)


@settings(max_examples=40, deadline=None)
@given(
    failed=st.sets(st.integers(0, 899), max_size=60),
    visits=st.lists(st.integers(0, 200), max_size=12),
)
def test_removing_step_by_step_ends_like_removing_at_once(failed: set[int], visits: list[int]) -> None:
    tiers = (
        Tier(None, timedelta(hours=6), timedelta(hours=20)),
        Tier(timedelta(hours=1), timedelta(days=1), timedelta(days=2)),
        Tier(timedelta(hours=6), None),
    )
    windows = ended(900, failed)
    end = START + timedelta(hours=200)
    left = windows
    for hours in sorted(visits):
        now = START + timedelta(hours=hours)
        gone = set(windows_to_remove([window for window in left if window.end <= now], now, tiers))
        left = [window for window in left if window not in gone]
    assert survivors(left, end, tiers) == survivors(windows, end, tiers)
