"""The table that ends the demo: one line per window, newest last."""

from rich.table import Table

from scripts.demo.acts import role_of
from scripts.demo.story import Outcome
from scripts.demo.verdict import fault_of
from scripts.demo.windows import SnapshotWindow


def windows_table(outcome: Outcome) -> Table:
    """Return the windows of the story with their verdicts and links."""
    table = Table(title="Windows (UTC)", title_justify="left", show_lines=False)
    for name in ("time", "traffic"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "labelled"):
        table.add_column(name, justify="right")
    for name in ("drifted columns", "failed checks", "status", "as expected"):
        table.add_column(name)
    table.add_column("link", overflow="fold")
    for window in sorted(outcome.windows.values(), key=lambda one: one.start):
        table.add_row(*_cells(window, outcome))
    return table


def _cells(window: SnapshotWindow, outcome: Outcome) -> list[str]:
    role = role_of(window.start, window.end, outcome.played)
    verdict = "-"
    if role.full:
        verdict = "[red]no[/]" if fault_of(role, window) else "[green]yes[/]"
    link = window.evidently_url or window.report_url or ""
    return [
        f"{window.start:%H:%M:%S} to {window.end:%H:%M:%S}",
        role.name,
        "-" if window.rows is None else str(window.rows),
        "-" if window.labelled_rows is None else str(window.labelled_rows),
        ", ".join(window.drifted_columns) or "none",
        ", ".join(sorted({check.check for check in window.failed_checks})) or "none",
        window.status + (f": {window.reason}" if window.reason else ""),
        verdict,
        f"[link={link}]{link}[/]" if link else "",
    ]
