"""The tables that end the demo, and whether the story came true."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evidently_workspace.checks import CHECKS
from scripts.demo.phases import Performance, Role, role_of, windows_between
from scripts.demo.story import Outcome
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
            if role.full and role.phase is performance.phase:
                full += 1
                if fault := fault_of(role, windows.get(start)):
                    lines.append(f"window {start:%H:%M:%S} ({role.name}) {fault}")
        if not full:
            lines.append(f"no window was wholly {performance.phase.scenario}")
    return lines


def fault_of(role: Role, window: SnapshotWindow | None) -> str | None:
    """Return what is wrong with a full window, None if it is as its act calls for."""
    if window is None:
        return "does not appear in GET /snapshots"
    if window.status != "posted":
        return f"is {window.status}: {window.reason or 'no reason given'}"
    expected = role.phase.expects if role.phase else None
    if expected is None and window.failed_checks:
        return "should be quiet, but raised " + ", ".join(str(check) for check in window.failed_checks)
    if expected is not None and expected not in window.checks:
        return f"should be flagged with {expected}, but was not"
    wrong = [str(check) for check in window.failed_checks if role.phase and check.check in role.phase.spares]
    return "should not be flagged with " + ", ".join(wrong) if wrong else None


def show_windows(outcome: Outcome, console: Console) -> None:
    """Print the windows of the story, oldest first, and below them their links: in a cell they would be folded."""
    windows = sorted(outcome.windows.values(), key=lambda one: one.start)
    table = _table("Windows (UTC)")
    for name in ("ends", "traffic"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "labels"):
        table.add_column(name, justify="right")
    for name in ("drifted columns", "failed checks"):
        table.add_column(name, overflow="fold")
    table.add_column("as told", no_wrap=True)
    for window in windows:
        table.add_row(*_cells(window, outcome))
    console.print(table)
    for window in windows:
        console.print(f"{window.end:%H:%M:%S}  {_link(window)}", soft_wrap=True, highlight=False)


def show_scenarios(outcome: Outcome, console: Console) -> None:
    """Print for each act in how many of its full windows each check fired."""
    table = _table("Checks that fired, in how many of a scenario's windows")
    table.add_column("traffic", no_wrap=True)
    for check in CHECKS:
        table.add_column(check.name.replace("_", "\n"), justify="center")
    table.add_column("as\ntold", justify="center")
    for performance in outcome.played:
        table.add_row(*_fired(performance, outcome))
    console.print(table)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _link(window: SnapshotWindow) -> str:
    link = window.evidently_url or window.report_url
    return f"[link={link}]{link}[/]" if link else "no snapshot"


def _cells(window: SnapshotWindow, outcome: Outcome) -> list[str]:
    role = role_of(window.start, window.end, outcome.played)
    checks = "\n".join(window.checks) or "none"
    if window.status != "posted":
        checks = window.status + (escape(f": {window.reason}") if window.reason else "")
    return [
        f"{window.end:%H:%M:%S}",
        role.name,
        "-" if window.rows is None else str(window.rows),
        "-" if window.labelled_rows is None else str(window.labelled_rows),
        escape("\n".join(window.drifted_columns)) or "none",
        checks,
        _verdict([fault_of(role, window)] if role.full else []),
    ]


def _fired(performance: Performance, outcome: Outcome) -> list[str]:
    full = [(role, window) for role, window in _roles(outcome) if role.full and role.phase is performance.phase]
    counts = [sum(check.name in window.checks for _, window in full) for check in CHECKS]
    cells = [f"[yellow]{count}/{len(full)}[/]" if count else "·" for count in counts]
    return [performance.phase.scenario, *cells, _verdict([fault_of(role, window) for role, window in full])]


def _roles(outcome: Outcome) -> list[tuple[Role, SnapshotWindow]]:
    return [(role_of(one.start, one.end, outcome.played), one) for one in outcome.windows.values()]


def _verdict(faults: Sequence[str | None]) -> str:
    """Say whether windows are as their acts call for; nothing is said of none."""
    if not faults:
        return "-"
    return "[red]no[/]" if any(faults) else "[green]yes[/]"
