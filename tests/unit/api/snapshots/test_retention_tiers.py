"""How the tiers of retention are written."""

from datetime import timedelta

import pytest

from api.settings import Settings
from api.snapshots.retention_tiers import DEFAULT_TIERS, Tier, parse_tiers


def test_the_default_setting_says_the_default_tiers() -> None:
    assert Settings().retention_policy.tiers == DEFAULT_TIERS


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
