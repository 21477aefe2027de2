"""The table that ends the demo: one line per window, newest last."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.demo.acts import role_of
from scripts.demo.story import Outcome
from scripts.demo.verdict import fault_of
from scripts.demo.windows import SnapshotWindow

# Narrower than this a link would be folded into pieces, so the links follow the table line by line.
_WIDTH_WITH_LINKS = 240


def show_windows(outcome: Outcome, console: Console) -> None:
    """Print the windows of the story with their verdicts and links."""
    windows = sorted(outcome.windows.values(), key=lambda one: one.start)
    beside = console.width >= _WIDTH_WITH_LINKS
    table = Table(title="Windows (UTC)", title_justify="left")
    for name in ("time", "traffic"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "labelled"):
        table.add_column(name, justify="right")
    for name in ("drifted columns", "failed checks", "status", "as told"):
        table.add_column(name, overflow="fold")
    if beside:
        table.add_column("link", no_wrap=True)
    for window in windows:
        table.add_row(*_cells(window, outcome), *([_link(window)] if beside else []))
    console.print(table)
    if not beside:
        for window in windows:
            console.print(f"{window.start:%H:%M:%S}  {_link(window)}", soft_wrap=True, highlight=False)


def _link(window: SnapshotWindow) -> str:
    link = window.evidently_url or window.report_url
    return f"[link={link}]{link}[/]" if link else "no snapshot"


def _cells(window: SnapshotWindow, outcome: Outcome) -> list[str]:
    role = role_of(window.start, window.end, outcome.played)
    verdict = "-"
    if role.full:
        verdict = "[red]no[/]" if fault_of(role, window) else "[green]yes[/]"
    return [
        f"{window.start:%H:%M:%S}-{window.end:%H:%M:%S}",
        role.name,
        "-" if window.rows is None else str(window.rows),
        "-" if window.labelled_rows is None else str(window.labelled_rows),
        escape(", ".join(window.drifted_columns)) or "none",
        ", ".join(sorted({check.check for check in window.failed_checks})) or "none",
        window.status + (escape(f": {window.reason}") if window.reason else ""),
        verdict,
    ]
