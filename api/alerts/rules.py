"""When the alert of a check fires: k failed windows of the last n that computed the check."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from api.prediction_log.alarm_changes import AlarmChange, mute_of
from api.prediction_log.records import WindowRecord
from evidently_workspace.checks import Check
from evidently_workspace.results import FAILED_WITH


@dataclass(frozen=True, slots=True)
class Quorum:
    """An alert fires while at least ``failed`` of the newest ``windows`` failed."""

    failed: int
    windows: int


@dataclass(frozen=True, slots=True)
class CheckState:
    """Where one check stands. ``since`` is when it came to stand so, as far back as the windows were read."""

    firing: bool
    since: datetime
    fired_at: datetime
    failed: int
    considered: int
    newest_failed: WindowRecord


def without_muted(history: Iterable[WindowRecord], mutes: Sequence[AlarmChange]) -> list[WindowRecord]:
    """Return the windows as if the checks that are muted now had been muted when they were measured."""

    def unmuted(window: WindowRecord) -> WindowRecord:
        left = [one for one in window.failed_checks if mute_of(mutes, one, window.start) is None]
        return window if len(left) == len(window.failed_checks) else replace(window, failed_checks=left)

    return [unmuted(window) for window in history]


def state_of(check: str, history: Sequence[WindowRecord], quorum: Quorum) -> CheckState | None:
    """Return where a check stands after the windows that computed it, newest first; None if it never fired in them."""
    failures = [_failed(check, window) for window in history]
    firing = [_fires(failures, place, quorum) for place in range(len(history))]
    if True not in firing:
        return None
    fired = firing.index(True)
    return CheckState(
        firing=firing[0],
        since=_began(history, firing, 0),
        fired_at=_began(history, firing, fired),
        failed=sum(failures[: quorum.windows]),
        considered=len(failures[: quorum.windows]),
        newest_failed=history[failures.index(True)],
    )


INCOMPLETE = Check("monitoring", "Incomplete monitoring", ("rows",), "ModelMonitoringIncomplete", "warning")
"""Not a check of the model: some part of the snapshot fails, so that nobody would see what it should show."""


def failed_parts(window: WindowRecord) -> list[str]:
    """Return the parts of a window's snapshot that failed though there was enough data, each with its error."""
    return [note for note in window.not_computed if f": {FAILED_WITH} " in note]


def _failed(check: str, window: WindowRecord) -> bool:
    if check == INCOMPLETE.name:
        return bool(failed_parts(window))
    return any(failed["check"] == check for failed in window.failed_checks)


def _fires(failures: Sequence[bool], place: int, quorum: Quorum) -> bool:
    """Whether the alert fired when the window at ``place`` was the newest."""
    return sum(failures[place : place + quorum.windows]) >= quorum.failed


def _began(history: Sequence[WindowRecord], firing: Sequence[bool], place: int) -> datetime:
    """When the state at ``place`` began: with the oldest window since which it has not changed."""
    first = place
    while first + 1 < len(firing) and firing[first + 1] == firing[place]:
        first += 1
    return history[first].finished_at or history[first].end
