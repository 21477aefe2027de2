"""The command `python -m scripts.bench workspace`: builds the workspaces, measures each, prints the tables."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console

from model.artifact.store import read_manifest
from scripts.bench.workspace.history import INTERVAL, kept, measure_bodies, past
from scripts.bench.workspace.measuring import Bench, Workspace, WorkspaceMeasurement, artifact_in, measure_workspace
from scripts.command_line import whole_from
from scripts.doctor import NO_CHROMIUM, find_program

SPANS = {"day": 1, "week": 7, "month": 30, "year": 365}
MEGABYTE = 1e6


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--spans", nargs="+", choices=SPANS, default=list(SPANS), metavar="SPAN", help=f"ages among {', '.join(SPANS)}"
    )
    parser.add_argument(
        "--plain-snapshots",
        type=whole_from(0),
        default=288,
        help="snapshots of the plain file workspace, which keeps all; 288 are a day, 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--measured",
        type=whole_from(4),
        default=24,
        help="windows that are really measured; the others are copies (default: %(default)s)",
    )
    parser.add_argument(
        "--looks", type=whole_from(1), default=5, help="how often each dashboard is opened (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the workspaces and screenshots in this folder")


def run_workspace(options: argparse.Namespace) -> int:
    """Measure what the options ask for, and print it."""
    chromium = find_program()
    if chromium is None:
        print(f"error: {NO_CHROMIUM}", file=sys.stderr)
        return 2
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        print(f"error: {options.keep} is not empty", file=sys.stderr)
        return 2
    os.environ["DO_NOT_TRACK"] = "1"  # read by Evidently as it is imported
    with TemporaryDirectory() if options.keep is None else nullcontext(options.keep) as folder:
        measured = _measure(options, Path(folder).resolve(), chromium)
    print(f"{os.cpu_count()} cores. A window every {INTERVAL // timedelta(minutes=1)} minutes.\n")
    print(summary_table(measured), "\n")
    print(panel_table(measured))
    return 0


def _measure(options: argparse.Namespace, folder: Path, chromium: str) -> list[WorkspaceMeasurement]:
    console = Console(stderr=True)
    now = datetime.now(UTC)
    now -= timedelta(seconds=now.timestamp() % INTERVAL.total_seconds())
    now = now.replace(microsecond=0)
    measured = []
    with console.status("training") as status:
        artifact = artifact_in(folder / "model")
        bodies = measure_bodies(artifact, options.measured, lambda n: status.update(f"measuring window {n + 1}"))
        bench = Bench(bodies, read_manifest(artifact), chromium, options.looks)
        plans = [(f"1 {span}", Workspace(folder / span), SPANS[span]) for span in options.spans]
        histories = [(title, place, kept(past(timedelta(days=days), now), now)) for title, place, days in plans]
        if options.plain_snapshots:
            plain = past(options.plain_snapshots * INTERVAL, now)
            histories.append((f"plain way, {len(plain):,} windows", Workspace(folder / "plain", plain=True), plain))
        for title, place, windows in histories:

            def report(text: str, title: str = title) -> None:
                status.update(f"{title}: {text}")

            measured.append(measure_workspace(title, place, windows, bench, report))
            # As they come, so that a run that is cut off has not been for nothing.
            console.print(summary_table(measured[-1:]), soft_wrap=True)
    return measured


def summary_table(measured: Sequence[WorkspaceMeasurement]) -> str:
    """Return a Markdown table with a row for each workspace."""
    head = [
        "after",
        "snapshots kept",
        "disk, MB",
        "start-up, s",
        "first dashboard, s",
        "dashboard, median, s",
        "all panels' queries, s",
        "slowest panel, ms",
        "memory, MB",
        "one post, ms",
        "points of a line",
    ]
    rows = [
        [
            one.title,
            f"{one.snapshots:,}",
            f"{one.disk_bytes / MEGABYTE:.0f}",
            f"{one.start_seconds:.1f}",
            f"{one.dashboard_seconds[0]:.1f}",
            f"{median(one.dashboard_seconds):.1f}",
            f"{sum(one.panel_seconds.values()):.1f}",
            f"{1000 * max(one.panel_seconds.values()):.0f}",
            f"{one.memory_bytes / MEGABYTE:.0f}",
            f"{1000 * one.post_seconds:.0f}",
            f"{one.points_of_a_line}",
        ]
        for one in measured
    ]
    return _markdown(head, rows)


def panel_table(measured: Sequence[WorkspaceMeasurement]) -> str:
    """Return a Markdown table with the time of each panel's query, in ms."""
    head = ["query of the panel, ms", *(one.title for one in measured)]
    panels = measured[0].panel_seconds
    rows = [[panel, *(f"{1000 * one.panel_seconds[panel]:.0f}" for one in measured)] for panel in panels]
    return _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
