"""How a finished load is shown: tables for a person, one JSON object for a machine."""

from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.load.summary import LATE_SECONDS, Summary


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values; latencies in seconds, the rate in requests a second."""
    labels = summary.labels
    return {
        "scenario": summary.scenario,
        "requests": {
            "planned": summary.planned,
            "sent": summary.sent,
            "answered": summary.answered,
            "late": summary.late,
            "dropped": summary.dropped,
            "unexpected": summary.failures,
        },
        "statuses": dict(sorted(summary.statuses.items())),
        "latency_seconds": summary.latency_seconds(),
        "achieved_rate": summary.achieved_rate,
        "elapsed_seconds": summary.elapsed_seconds,
        "labels": vars(labels),
        "rows": dict(sorted(summary.rows.items())),
        "unexpected": dict(summary.unexpected.most_common()),
        "examples": summary.examples,
        "interrupted": summary.interrupted,
    }


def show(summary: Summary, console: Console) -> None:
    """Print the summary as tables, and what went wrong below them."""
    table = Table(title=f"Load: {summary.scenario}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for section in (_requests(summary), _latencies(summary), _labels(summary), _rows(summary)):
        for name, value in section:
            table.add_row(name, value)
        table.add_section()
    console.print(table)
    for what, count in summary.unexpected.most_common():
        console.print(f"[red]unexpected[/] {count:,} x ", end="")
        console.print(what, markup=False)
    for example in summary.examples:
        console.print(f"  for example: {example}", markup=False, style="dim")
    if summary.interrupted:
        console.print("ended early; the counts are those of the part that ran")


def _requests(summary: Summary) -> list[tuple[str, str]]:
    lines = [("requests sent", f"{summary.sent:,} of {summary.planned:,}")]
    lines += [(f"  status {status}", f"{count:,}") for status, count in sorted(summary.statuses.items())]
    lines += [
        (f"sent late (over {LATE_SECONDS * 1000:.0f} ms)", f"{summary.late:,}"),
        ("dropped (no free connection in time)", f"{summary.dropped:,}"),
        ("achieved rate", f"{summary.achieved_rate:,.1f}/s"),
    ]
    return lines


def _latencies(summary: Summary) -> list[tuple[str, str]]:
    return [(f"latency {name}", f"{value * 1000:,.1f} ms") for name, value in summary.latency_seconds().items()]


def _labels(summary: Summary) -> list[tuple[str, str]]:
    labels = summary.labels
    if not labels.sent and not labels.unsent:
        return []
    lines = [
        ("labels sent", f"{labels.sent:,}"),
        ("  accepted", f"{labels.accepted:,}"),
        ("  unknown", f"{labels.unknown:,}"),
    ]
    lines += [
        (f"  {name}", f"{count:,}") for name, count in (("failed", labels.failed), ("unsent", labels.unsent)) if count
    ]
    return lines


def _rows(summary: Summary) -> list[tuple[str, str]]:
    return [(f"rows: {kind}", f"{count:,}") for kind, count in sorted(summary.rows.items())]
