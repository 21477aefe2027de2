"""The windows of a simulated past and those whose snapshot is still kept, with the real tiers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.snapshots.retention_tiers import DEFAULT_TIERS, parse_tiers, windows_to_remove
from evidently_workspace.window import Window

INTERVAL = timedelta(minutes=5)
EPISODE_WINDOWS, EPISODE_EVERY_WINDOWS = 24, 2880
"""Checks fail for two hours every ten days."""


@dataclass(frozen=True, slots=True)
class PastWindow:
    """One window: its number since the beginning, its end, and its failed checks."""

    number: int
    end: datetime
    failed_checks: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The same as the snapshot names it."""
        return Window(self.end - INTERVAL, self.end)


def past(span: timedelta, now: datetime) -> list[PastWindow]:
    """Return every window of the span that ends now, oldest first."""
    count = span // INTERVAL
    return [PastWindow(n, now - (count - 1 - n) * INTERVAL, _failed(n)) for n in range(count)]


def kept(windows: Sequence[PastWindow], now: datetime) -> list[PastWindow]:
    """Return the windows that keep their snapshot under the default tiers, oldest first."""
    removed = {window.number for window in windows_to_remove(windows, now, parse_tiers(DEFAULT_TIERS))}
    return [window for window in windows if window.number not in removed]


def _failed(number: int) -> tuple[str, ...]:
    return ("data_drift",) if number % EPISODE_EVERY_WINDOWS < EPISODE_WINDOWS else ()
