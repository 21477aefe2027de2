"""The phases of the story on the time line: when each played, and which windows are wholly its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FULL_SHARE = 0.75


@dataclass(frozen=True)
class Phase:
    """Traffic of one scenario for a number of windows."""

    scenario: str
    windows: int
    expects: str | None
    """The check that every full window must raise; None where every full window must be quiet."""
    spares: frozenset[str] = frozenset()
    """Checks that no full window may raise: what has drifted must be told from what has not."""


@dataclass(frozen=True)
class Performance:
    """An act as it was played: its first request was due at `first`, its last label was sent by `last`."""

    phase: Phase
    first: datetime
    last: datetime

    def share_of(self, start: datetime, end: datetime) -> float:
        """Return the share of the window [start, end) in which this act played."""
        overlap = min(self.last, end) - max(self.first, start)
        return max(overlap / (end - start), 0.0)


@dataclass(frozen=True)
class Role:
    """What a window is in the story. `act` is None where none or several acts played in it."""

    name: str
    phase: Phase | None
    full: bool


def next_boundary(moment: datetime, interval_seconds: int) -> datetime:
    """Return the first window boundary at or after a moment: a multiple of the interval since 1970, in UTC."""
    ticks = -(-moment.timestamp() // interval_seconds)
    return datetime.fromtimestamp(ticks * interval_seconds, UTC)


def role_of(start: datetime, end: datetime, played: Sequence[Performance]) -> Role:
    """Return what the window [start, end) is: one act's, mixed, or idle.

    A window is full if its act played for three quarters of it: acts begin just after a boundary and end early
    enough for their last labels to arrive before the next one.
    """
    here = [performance for performance in played if performance.share_of(start, end) > 0]
    if len(here) != 1:
        return Role("mixed" if here else "idle", None, full=False)
    phase = here[0].phase
    full = here[0].share_of(start, end) >= FULL_SHARE
    return Role(phase.scenario if full else f"{phase.scenario}, in part", phase, full)


def windows_between(first: datetime, last: datetime, interval_seconds: int) -> list[tuple[datetime, datetime]]:
    """Return the windows that a span of time touches."""
    step = timedelta(seconds=interval_seconds)
    start = next_boundary(first, interval_seconds)
    start = start if start == first else start - step
    windows = []
    while start < last:
        windows.append((start, start + step))
        start += step
    return windows
