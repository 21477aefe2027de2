"""The tables at the end of the demo, and whether each window is as expected."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evidently_workspace.checks import CHECKS
from scripts.demo.phases import PlayedPhase, SnapshotWindow, WindowTraffic, traffic_of, windows_between
from scripts.demo.story import Outcome


def unexpected(
    played: Sequence[PlayedPhase], windows: Mapping[datetime, SnapshotWindow], interval_seconds: int
) -> list[str]:
    """Return a line for each full window that is not as its phase expects, and for each phase without a full window."""
    lines = []
    for one in played:
        full = 0
        for start, end in windows_between(one.first, one.last, interval_seconds):
            traffic = traffic_of(start, end, played)
            if traffic.full and traffic.phase is one.phase:
                full += 1
                if difference := difference_of(traffic, windows.get(start)):
                    lines.append(f"window {start:%H:%M:%S} ({traffic.name}) {difference}")
        if not full:
            lines.append(f"no window has traffic of only {one.phase.scenario}")
    return lines


def difference_of(traffic: WindowTraffic, window: SnapshotWindow | None) -> str | None:
    """Return what is wrong with a full window, None if it is as its phase expects."""
    if window is None:
        return "is not in GET /snapshots"
    if window.status != "posted":
        return f"is {window.status}: {window.reason or 'no reason given'}"
    expected = traffic.phase.expects if traffic.phase else None
    if expected is None and window.failed_checks:
        return "should have no failed checks, but has " + ", ".join(str(check) for check in window.failed_checks)
    if expected is not None and expected not in window.checks:
        return f"should have a failed check {expected}, but has none"
    wrong = [str(check) for check in window.failed_checks if traffic.phase and check.check in traffic.phase.must_pass]
    return "should not have the failed check " + ", ".join(wrong) if wrong else None


def show_windows(outcome: Outcome, console: Console) -> None:
    """Print the windows, oldest first, and below them their links, which a cell of the table would fold."""
    windows = sorted(outcome.windows.values(), key=lambda one: one.start)
    table = _table("Windows (UTC)")
    for name in ("ends", "traffic"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "labels"):
        table.add_column(name, justify="right")
    for name in ("drifted columns", "failed checks"):
        table.add_column(name, overflow="fold")
    table.add_column("ok", no_wrap=True)
    for window in windows:
        table.add_row(*_cells(window, outcome))
    console.print(table)
    for window in windows:
        console.print(f"{window.end:%H:%M:%S}  {_link(window)}", soft_wrap=True, highlight=False)


def show_scenarios(outcome: Outcome, console: Console) -> None:
    """Print for each phase in how many of its full windows each check failed."""
    table = _table("In how many of a scenario's windows each check failed")
    table.add_column("traffic", no_wrap=True)
    for check in CHECKS:
        table.add_column(check.name.replace("_", "\n"), justify="center")
    table.add_column("ok", justify="center")
    for one in outcome.played:
        table.add_row(*_failed_counts(one, outcome))
    console.print(table)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _link(window: SnapshotWindow) -> str:
    link = window.evidently_url or window.report_url
    return f"[link={link}]{link}[/]" if link else "no snapshot"


def _cells(window: SnapshotWindow, outcome: Outcome) -> list[str]:
    traffic = traffic_of(window.start, window.end, outcome.played)
    checks = "\n".join(window.checks) or "none"
    if window.status != "posted":
        checks = window.status + (escape(f": {window.reason}") if window.reason else "")
    return [
        f"{window.end:%H:%M:%S}",
        traffic.name,
        "-" if window.rows is None else str(window.rows),
        "-" if window.labelled_rows is None else str(window.labelled_rows),
        escape("\n".join(window.drifted_columns)) or "none",
        checks,
        _verdict([difference_of(traffic, window)] if traffic.full else []),
    ]


def _failed_counts(played: PlayedPhase, outcome: Outcome) -> list[str]:
    everything = [(traffic_of(one.start, one.end, outcome.played), one) for one in outcome.windows.values()]
    full = [(traffic, window) for traffic, window in everything if traffic.full and traffic.phase is played.phase]
    counts = [sum(check.name in window.checks for _, window in full) for check in CHECKS]
    cells = [f"[yellow]{count}/{len(full)}[/]" if count else "·" for count in counts]
    return [played.phase.scenario, *cells, _verdict([difference_of(traffic, window) for traffic, window in full])]


def _verdict(differences: Sequence[str | None]) -> str:
    """Return whether windows are as their phases expect; a dash where there are none."""
    if not differences:
        return "-"
    return "[red]no[/]" if any(differences) else "[green]yes[/]"
