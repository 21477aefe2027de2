"""The command that sets the threshold of a check of a model: python -m scripts.threshold."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from api.errors import NotFound, PayloadError
from api.settings import Settings
from scripts.command_line import above_zero, add_model, status_of, whole_from
from scripts.mute import changes_table, open_editor


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.threshold") -> int:
    """Set, list or undo; return 0, or 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    if sum((options.check is not None, options.list, options.undo is not None)) != 1:
        parser.error("give a check and a value, or one of --list and --undo")
    if options.check is not None and (options.value is None or options.reason is None):
        parser.error("a threshold needs a value and --reason")
    return status_of(lambda: _run(options, Settings()), PayloadError, NotFound)


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Set the threshold of a check for the version of the model that serves, whatever the rows and the "
        "traffic say. The next window is judged by it; nothing is trained. The VIGIE_ settings name the model and "
        "the log.",
    )
    add = parser.add_argument
    add("check", nargs="?", help="such as data_drift")
    add("value", nargs="?", type=above_zero, help="the threshold, as a report shows it")
    add("--column", metavar="NAME", help="the column, or the class of a recall; for checks that have several")
    add("--measure", metavar="NAME", help="such as missing, for checks that have several measures")
    add("--reason", metavar="TEXT", help="why; it is in the list of changes")
    add("--list", action="store_true", help="list the thresholds that were set, and who changed what")
    add("--undo", type=whole_from(1), metavar="ID", help="take the threshold of this id back")
    add_model(parser)
    return parser


def _run(options: argparse.Namespace, common: Settings) -> int:
    with open_editor(options.model, common) as editor:
        version, console = editor.manifest.version, Console()
        if options.list:
            console.print(changes_table(f"thresholds set for {version}", editor.changes.thresholds(version)))
            console.print(changes_table("what was changed", editor.changes.newest()))
        elif options.undo is not None:
            editor.changes.reset_threshold(editor.who, version, options.undo)
            console.print(f"threshold {options.undo} is taken back; the next window is judged without it")
        else:
            done = editor.set_threshold(options.check, options.column, options.measure, options.value, options.reason)
            console.print(f"threshold {done.id} holds from the next window on. To take it back: --undo {done.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
