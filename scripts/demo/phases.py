"""The phases of the demo on the time line, the windows as the API returns them, and which hold one phase alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict

FULL_SHARE = 0.75
_LIMIT = 200
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Phase:
    """Traffic of one scenario for a number of windows."""

    scenario: str
    windows: int
    expects: str | None
    """The check that must fail in every full window; None where no check may fail."""
    must_pass: frozenset[str] = frozenset()
    """Checks that may not fail in a full window: the alarm must be about what has changed, and about nothing else."""


@dataclass(frozen=True)
class PlayedPhase:
    """A phase after it was played: its first request was due at `first`, its last label was sent by `last`."""

    phase: Phase
    first: datetime
    last: datetime

    def share_of(self, start: datetime, end: datetime) -> float:
        """Return the share of the window [start, end) in which this phase was played."""
        overlap = min(self.last, end) - max(self.first, start)
        return max(overlap / (end - start), 0.0)


@dataclass(frozen=True)
class WindowTraffic:
    """The traffic of a window. `phase` is None where no phase or several were played in it."""

    name: str
    phase: Phase | None
    full: bool


def next_boundary(moment: datetime, interval_seconds: int) -> datetime:
    """Return the first window boundary at or after a moment: a multiple of the interval since 1970, in UTC."""
    ticks = -(-moment.timestamp() // interval_seconds)
    return datetime.fromtimestamp(ticks * interval_seconds, UTC)


def traffic_of(start: datetime, end: datetime, played: Sequence[PlayedPhase]) -> WindowTraffic:
    """Return the traffic of the window [start, end): one phase, mixed, or idle.

    A window is full if its phase was played for three quarters of it: phases begin just after a boundary and end
    early enough for their last labels to arrive before the next one.
    """
    here = [one for one in played if one.share_of(start, end) > 0]
    if len(here) != 1:
        return WindowTraffic("mixed" if here else "idle", None, full=False)
    phase = here[0].phase
    full = here[0].share_of(start, end) >= FULL_SHARE
    return WindowTraffic(phase.scenario if full else f"{phase.scenario}, in part", phase, full)


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


class FailedCheck(BaseModel):
    """One check that a window did not pass."""

    model_config = ConfigDict(frozen=True)

    check: str
    column: str | None
    value: float
    threshold: float

    def __str__(self) -> str:
        """Return the check, its column, its value and its limit."""
        where = f" of {self.column}" if self.column else ""
        return f"{self.check}{where} ({self.value:.2f}, limit {self.threshold:.2f})"


class SnapshotWindow(BaseModel):
    """One window, [start, end), as `GET /snapshots` gives it."""

    model_config = ConfigDict(frozen=True)

    start: AwareDatetime
    end: AwareDatetime
    rows: int | None
    labelled_rows: int | None
    status: Literal["due", "running", "posted", "skipped", "failed"]
    reason: str | None
    failed_checks: tuple[FailedCheck, ...]
    report_url: str | None
    evidently_url: str | None

    @property
    def settled(self) -> bool:
        """Return whether its status is final."""
        return self.status in {"posted", "skipped"}

    @property
    def checks(self) -> tuple[str, ...]:
        """Return the names of the failed checks, each once, in order."""
        return tuple(sorted({check.check for check in self.failed_checks}))

    @property
    def drifted_columns(self) -> tuple[str, ...]:
        """Return the features whose distribution raised an alarm."""
        return tuple(check.column or "" for check in self.failed_checks if check.check == "data_drift")


class _Answer(BaseModel):
    windows: tuple[SnapshotWindow, ...]


async def read_windows(
    client: httpx.AsyncClient, since: datetime, path: str = "/snapshots"
) -> dict[datetime, SnapshotWindow]:
    """Return the windows that start at or after `since`, oldest first, by their start; empty if nothing answers."""
    try:
        response = await client.get(path, params={"limit": _LIMIT}, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
    except httpx.HTTPError:
        # The API may be busy for a moment. The stack notices if it has ended.
        return {}
    windows = _Answer.model_validate_json(response.content).windows
    return {window.start: window for window in sorted(windows, key=lambda one: one.start) if window.start >= since}
