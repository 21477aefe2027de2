"""The command `python -m scripts.demo`: the stack, the traffic story, its table, and whether it came true."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model.errors import ModelError
from scripts.arguments import above_zero, add_ports, whole_from
from scripts.demo.acts import Act
from scripts.demo.folders import RunFolder
from scripts.demo.story import Outcome, Script, Story
from scripts.demo.table import show_scenarios, show_windows
from scripts.demo.verdict import complaints
from scripts.load.errors import LoadError
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.interruption import Interruption
from scripts.stack.stack import Stack, check_ports
from scripts.stack.terminal import exit_status, show_addresses, show_error

# Where output goes to a file no terminal says how wide it is.
_FILE_WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    errors = Console(stderr=True)
    with Interruption() as interruption:
        try:
            # Before the folder is made, as a run that cannot start should leave nothing behind.
            check_ports(_config(options, options.data_dir))
            with RunFolder(options.data_dir) as folder:
                return _run(options, folder.path, console, interruption)
        except StackError as error:
            show_error(error, errors)
            return exit_status(error)
        except (LoadError, ModelError, OSError) as error:
            errors.print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
            return 1


def _run(options: argparse.Namespace, folder: Path, console: Console, interruption: Interruption) -> int:
    with Stack(_config(options, folder), console, interruption) as stack:
        show_addresses(stack, console)
        outcome = _play(stack, _script(options), console, interruption)
        show_windows(outcome, console)
        show_scenarios(outcome, console)
        faults = _faults(outcome, options.interval)
        for fault in faults:
            console.print(f"[red]not as told[/]: {escape(fault)}", soft_wrap=True, highlight=False)
        if not faults:
            console.print(
                "[green]as told[/]: steady traffic was quiet, every change was flagged, and a change of the inputs "
                "and one of their meaning were told apart",
                soft_wrap=True,
            )
        if os.environ.get("DEMO_EXIT") != "1":
            show_addresses(stack, console)
            console.print("The stack keeps running without traffic; Ctrl-C stops it.")
            stack.wait()
        console.print("stopping")
    console.print(f"kept for a later look: {escape(str(folder))}", soft_wrap=True, highlight=False)
    return 1 if faults else 0


def _faults(outcome: Outcome, interval_seconds: int) -> list[str]:
    loads = [
        f"{summary.scenario}: {count} x {what}"
        for summary in outcome.loads
        for what, count in summary.unexpected.items()
    ]
    return loads + complaints(outcome.played, outcome.windows, interval_seconds)


def _play(stack: Stack, script: Script, console: Console, interruption: Interruption) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def watch(doing: str, done: float) -> None:
            # A task that is complete stops its clock, and this one stands for every step in turn.
            progress.update(task, description=doing, completed=min(done, 0.999))

        def say(line: str) -> None:
            progress.console.print(line, markup=False, soft_wrap=True, highlight=False)

        return asyncio.run(Story(stack, script, interruption, say, watch).play())


def _config(options: argparse.Namespace, folder: Path) -> StackConfig:
    # The story must be the same everywhere, so settings of the shell's VIGIE_* do not reach it.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
    return StackConfig(
        data_dir=folder,
        model_dir=options.data_dir / "model",
        api_port=options.api_port,
        ui_port=options.ui_port,
        interval_seconds=options.interval,
        inherited=inherited,
    )


def _script(options: argparse.Namespace) -> Script:
    windows = options.drift_windows
    acts = (
        Act("steady", options.steady_windows, expects=None),
        Act("data_drift", windows, expects="data_drift", spares=frozenset({"concept_drift"})),
        Act("target_drift", windows, expects="target_drift"),
        Act("concept_drift", windows, expects="concept_drift", spares=frozenset({"data_drift"})),
        Act("bad_quality", windows, expects="data_quality"),
    )
    return Script(acts, options.interval, options.rate, options.seed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.demo",
        description="Start a stack of its own, play steady traffic and four kinds of trouble, show which checks fired.",
        epilog="With DEMO_EXIT=1 in the environment it stops after the story; otherwise Ctrl-C stops it. "
        "Exit status: 0 the story came true, 1 it did not, 2 a port is taken, 130 ended early.",
    )
    add_ports(parser)
    parser.add_argument("--interval", type=whole_from(10), default=15, help="seconds per window (%(default)s)")
    parser.add_argument("--rate", type=above_zero, default=30.0, help="requests per second (%(default)s)")
    parser.add_argument("--steady-windows", type=whole_from(1), default=2, help="(%(default)s)")
    parser.add_argument("--drift-windows", type=whole_from(1), default=2, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=whole_from(0), default=1, help="of the traffic (%(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/demo"), help="its model and a folder per run (%(default)s)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
