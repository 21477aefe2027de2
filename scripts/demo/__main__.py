"""The command `python -m scripts.demo`: starts a stack, plays traffic that drifts, and compares the checks."""

import argparse
import asyncio
import fcntl
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model.errors import ModelError
from scripts.command_line import above_zero, add_ports, whole_from
from scripts.demo.others import OtherModel, describe
from scripts.demo.phases import Phase
from scripts.demo.story import DemoPlan, Outcome, Story
from scripts.demo.table import show_scenarios, show_windows, unexpected
from scripts.load.errors import LoadError
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.services import Interruption
from scripts.stack.stack import Stack, check_ports, exit_status, show_addresses, show_error

RUNS_KEPT = 5
DATASETS = ("iris", "wine", "diabetes")
"""What the models of the demo are trained on, and their names. The last is only watched: it is served elsewhere."""
PATIENCE_SECONDS = 120.0
_LOCK = "running.lock"


class RunFolder:
    """A fresh folder for one run, locked for as long as the run lasts.

    With an old log, the API would first catch up on the hours since. The newest five runs are kept; older ones are
    removed, except those whose demo still runs.
    """

    def __init__(self, root: Path) -> None:
        self._runs = root / "runs"
        self.path = self._runs / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._lock: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        """Create and lock the folder, and remove runs that are too old; raises OSError if it cannot be written."""
        self.path.mkdir(parents=True)
        self._lock = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for old in sorted(self._runs.iterdir())[:-RUNS_KEPT]:
            _remove_unless_running(old)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder and keep it."""
        if self._lock:
            self._lock.close()


def _remove_unless_running(folder: Path) -> None:
    lock = folder / _LOCK
    if not lock.is_file():
        # Not the folder of a run.
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)


# Output that goes to a file has no terminal whose width could be used.
_FILE_WIDTH = 100


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.demo") -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments, prog)
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    errors = Console(stderr=True)
    with Interruption() as interruption:
        try:
            # Before the folder is made: a run that cannot start leaves nothing behind.
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
    for other in _others(options):
        other.prepare()
    with Stack(_config(options, folder), console, interruption) as stack:
        show_addresses(stack, console)
        outcome = _play(stack, _plan(options), console, interruption)
        show_windows(outcome, console)
        show_scenarios(outcome, console)
        describe(outcome.others, lambda line: console.print(line, highlight=False, soft_wrap=True))
        differences = _differences(outcome, options.interval)
        for difference in differences:
            console.print(f"[red]not as expected[/]: {escape(difference)}", soft_wrap=True, highlight=False)
        if not differences:
            console.print(
                "[green]as expected[/]: no check failed on steady traffic, every change was found, and data drift and "
                "concept drift were told apart",
                soft_wrap=True,
            )
        if os.environ.get("DEMO_EXIT") != "1":
            show_addresses(stack, console)
            console.print("The stack keeps running without traffic; Ctrl-C stops it.")
            stack.wait()
        console.print("stopping")
    console.print(f"this run is kept in {escape(str(folder))}", soft_wrap=True, highlight=False)
    return 1 if differences else 0


def _differences(outcome: Outcome, interval_seconds: int) -> list[str]:
    loads = [
        f"{summary.scenario}: {count} x {what}"
        for summary in outcome.loads
        for what, count in summary.unexpected.items()
    ]
    others = [line for one in outcome.others for line in one.differences(interval_seconds)]
    return loads + unexpected(outcome.played, outcome.windows, interval_seconds) + others


def _play(stack: Stack, plan: DemoPlan, console: Console, interruption: Interruption) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def watch(doing: str, done: float) -> None:
            # A task that is complete stops its clock, and this one stands for every step in turn.
            progress.update(task, description=doing, completed=min(done, 0.999))

        def say(line: str) -> None:
            progress.console.print(line, markup=False, soft_wrap=True, highlight=False)

        return asyncio.run(Story(stack, plan, interruption, say, watch).play())


def _config(options: argparse.Namespace, folder: Path) -> StackConfig:
    # The demo must be the same everywhere, so it ignores the VIGIE_* settings of the shell.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
    others = _others(options)
    if others:
        inherited |= {"VIGIE_MODELS_DIR": str(_models_dir(options).resolve()), "VIGIE_DEFAULT_MODEL": DATASETS[0]}
    return StackConfig(
        data_dir=folder,
        model_dir=_models_dir(options) / DATASETS[0] if others else options.data_dir / "model",
        more_models=[command for other in others for command in other.commands()],
        api_port=options.api_port,
        ui_port=options.ui_port,
        interval_seconds=options.interval,
        inherited=inherited,
    )


def _models_dir(options: argparse.Namespace) -> Path:
    folder: Path = options.data_dir / f"models-{options.models}"
    return folder


def _others(options: argparse.Namespace) -> list[OtherModel]:
    """Return the models beside the one of the story."""
    folder, last = _models_dir(options).resolve(), DATASETS[-1]
    return [OtherModel(name, folder / name, is_watched=name == last) for name in DATASETS[1 : options.models]]


def _plan(options: argparse.Namespace) -> DemoPlan:
    windows = options.drift_windows
    phases = (
        Phase("steady", options.steady_windows, expects=None),
        Phase("data_drift", windows, expects="data_drift", must_pass=frozenset({"concept_drift"})),
        Phase("target_drift", windows, expects="target_drift"),
        Phase("concept_drift", windows, expects="concept_drift", must_pass=frozenset({"data_drift"})),
        Phase("bad_quality", windows, expects="data_quality"),
    )
    wait = PATIENCE_SECONDS * options.models  # one worker measures the windows of all
    return DemoPlan(phases, options.interval, options.rate, options.seed, wait, _others(options))


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Start a stack of its own, send steady traffic and four kinds of drift, show which checks failed.",
        epilog="With DEMO_EXIT=1 in the environment it stops by itself at the end; otherwise Ctrl-C stops it. "
        "Exit status: 0 every window was as expected, 1 one was not, 2 a port is taken, 130 stopped early.",
    )
    add_ports(parser)
    parser.add_argument("--interval", type=whole_from(10), default=15, help="seconds per window (%(default)s)")
    parser.add_argument("--rate", type=above_zero, default=30.0, help="requests per second (%(default)s)")
    parser.add_argument(
        "--steady-windows", type=whole_from(1), default=2, help="windows of steady traffic (%(default)s)"
    )
    parser.add_argument(
        "--drift-windows", type=whole_from(1), default=2, help="windows of each kind of drift (%(default)s)"
    )
    parser.add_argument(
        "--models",
        type=whole_from(1, len(DATASETS)),
        default=1,
        help=f"how many models: {', '.join(DATASETS)}; the others get steady traffic meanwhile, and the last is served "
        "by another program and only watched here (%(default)s)",
    )
    parser.add_argument("--seed", type=whole_from(0), default=1, help="seed of the traffic (%(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/demo"), help="folder of its model and of each run (%(default)s)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
