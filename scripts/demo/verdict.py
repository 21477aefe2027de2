"""Whether the story came true: quiet where nothing had changed, flagged where it had."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from scripts.demo.acts import Performance, Role, role_of, windows_between
from scripts.demo.windows import SnapshotWindow


def complaints(
    played: Sequence[Performance], windows: Mapping[datetime, SnapshotWindow], interval_seconds: int
) -> list[str]:
    """Return a line for each full window that is not as its act calls for, and for each act without any."""
    lines = []
    for performance in played:
        full = 0
        for start, end in windows_between(performance.first, performance.last, interval_seconds):
            role = role_of(start, end, played)
            if role.full and role.act is performance.act:
                full += 1
                if fault := fault_of(role, windows.get(start)):
                    lines.append(f"window {start:%H:%M:%S} ({role.name}) {fault}")
        if not full:
            lines.append(f"no window was wholly {performance.act.scenario}")
    return lines


def fault_of(role: Role, window: SnapshotWindow | None) -> str | None:
    """Return what is wrong with a full window, None if it is as its act calls for."""
    if window is None:
        return "does not appear in GET /snapshots"
    if window.status != "posted":
        return f"is {window.status}: {window.reason or 'no reason given'}"
    expected = role.act.expects if role.act else None
    if expected is None and window.failed_checks:
        return "should be quiet, but raised " + ", ".join(str(check) for check in window.failed_checks)
    if expected is not None and expected not in window.checks:
        return f"should be flagged with {expected}, but was not"
    wrong = [str(check) for check in window.failed_checks if role.act and check.check in role.act.spares]
    return "should not be flagged with " + ", ".join(wrong) if wrong else None
