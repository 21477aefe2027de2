"""The command that sets the threshold of a check of a model: python -m scripts.threshold."""

import argparse
import sys
from collections.abc import Sequence

from rich.table import Table

from api.alerts.changes import AlarmEditor
from scripts.command_line import above_zero
from scripts.mute import add_change, changes_table, run_change


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.threshold") -> int:
    """Set, list or undo; return 0, or 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    if sum((options.check is not None, options.list, options.undo is not None)) != 1:
        parser.error("give a check and a value, or one of --list and --undo")
    if options.check is not None and (options.value is None or options.reason is None):
        parser.error("a threshold needs a value and --reason")
    return run_change(options, make=_set, undo=_reset, current=_thresholds)


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
    add_change(parser, "the thresholds that were set", "take the threshold of this id back")
    return parser


def _set(editor: AlarmEditor, options: argparse.Namespace) -> str:
    done = editor.set_threshold(options.check, options.column, options.measure, options.value, options.reason)
    return f"threshold {done.id} holds from the next window on. To take it back: --undo {done.id}"


def _reset(editor: AlarmEditor, options: argparse.Namespace) -> str:
    editor.changes.reset_threshold(editor.who, editor.manifest.version, options.undo)
    return f"threshold {options.undo} is taken back; the next window is judged without it"


def _thresholds(editor: AlarmEditor) -> Table:
    version = editor.manifest.version
    return changes_table(f"thresholds set for {version}", editor.changes.thresholds(version))


if __name__ == "__main__":
    sys.exit(main())
