"""The command `python -m scripts.stack`: starts the embedded stack, shows its addresses, waits and stops it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from scripts.command_line import add_ports, whole_from
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.services import Interruption
from scripts.stack.stack import Stack, exit_status, show_addresses, show_error


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.stack") -> int:
    """Run the command and return its exit status."""
    config = _config(arguments, prog)
    console = Console()
    with Interruption() as interruption:
        try:
            with Stack(config, console, interruption) as stack:
                show_addresses(stack, console)
                console.print("Press Ctrl-C to stop both.")
                stack.wait()
                console.print("stopping")
        except StackError as error:
            show_error(error, Console(stderr=True))
            return exit_status(error)
    console.print("stopped")
    return 0


def _config(arguments: Sequence[str] | None, prog: str) -> StackConfig:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train a model if there is none, start Evidently UI and the API, stop both on Ctrl-C.",
        epilog="The services read the VIGIE_ variables of the environment, VIGIE_DATABASE_URL among them.",
    )
    add_ports(parser)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        help="folder of the log, the reports and the secret (%(default)s)",
    )
    parser.add_argument(
        "--interval", type=whole_from(1), help="seconds per snapshot window (default: the API's setting)"
    )
    parser.add_argument("--workers", type=whole_from(1), help="API processes (default: the API's setting)")
    options = parser.parse_args(arguments)
    return StackConfig(
        data_dir=options.data_dir,
        model_dir=_model_dir(options.data_dir),
        api_port=options.api_port,
        ui_port=options.ui_port,
        interval_seconds=options.interval,
        workers=options.workers,
    )


def _model_dir(data_dir: Path) -> Path:
    """Return the folder where a model must be, or is trained: of several models the default one, or any."""
    several = os.environ.get("VIGIE_MODELS_DIR")
    if not several:
        return Path(os.environ.get("VIGIE_MODEL_DIR", data_dir / "model"))
    there = sorted(path.parent for path in Path(several).glob("[!.]*/manifest.json"))
    default = os.environ.get("VIGIE_DEFAULT_MODEL") or (there[0].name if there else "iris")
    return Path(several) / default


if __name__ == "__main__":
    sys.exit(main())
