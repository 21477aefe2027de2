"""The command that mutes a check or a column of a model until a time: python -m scripts.mute."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from getpass import getuser

from rich.console import Console
from rich.table import Table

from api.alerts.changes import AlarmEditor
from api.errors import NotFound, PayloadError
from api.installed_models import find_models
from api.prediction_log.alarm_changes import AlarmChange, AlarmChanges
from api.settings import Settings
from api.wiring import build_database, places_of
from model.artifact.store import read_manifest
from scripts.command_line import MOMENT_HELP, add_model, moment, status_of, whole_from


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.mute") -> int:
    """Mute, list or undo; return 0, or 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    mutes = options.check is not None or options.column is not None
    if sum((mutes, options.list, options.undo is not None)) != 1:
        parser.error("give a check or --column, or one of --list and --undo")
    if mutes and (options.until is None or options.reason is None):
        parser.error("a mute needs --until and --reason")
    return run_change(options, make=_mute, undo=_unmute, current=_mutes)


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Mute a check, a column, or a check of one column: it is still shown where it fails, but does not "
        "count and does not alert. The mute ends by itself. The VIGIE_ settings name the model and the log.",
    )
    add = parser.add_argument
    add("check", nargs="?", help="such as data_drift; without it the column is muted in every check")
    add("--column", metavar="NAME", help="only for this column")
    add("--until", type=moment, metavar="TIME", help=f"when the mute ends, {MOMENT_HELP}")
    add_change(parser, "the mutes that hold", "end the mute of this id")
    return parser


def _mute(editor: AlarmEditor, options: argparse.Namespace) -> str:
    done = editor.mute(options.check, options.column, options.until, options.reason)
    return f"mute {done.id} holds until {done.until:%Y-%m-%d %H:%M} UTC. To end it: --undo {done.id}"


def _unmute(editor: AlarmEditor, options: argparse.Namespace) -> str:
    editor.changes.unmute(editor.who, options.undo)
    return f"mute {options.undo} is over; the next window counts again"


def _mutes(editor: AlarmEditor) -> Table:
    return changes_table("mutes that hold", editor.changes.mutes())


def add_change(parser: argparse.ArgumentParser, what: str, undo: str) -> None:
    """Add what each command about the alarms has: who is told why, the list, and the way back."""
    add = parser.add_argument
    add("--reason", metavar="TEXT", help="why; it is shown with the change, and stays in the list of changes")
    add("--list", action="store_true", help=f"list {what}, and who changed what")
    add("--undo", type=whole_from(1), metavar="ID", help=undo)
    add_model(parser)


Change = Callable[[AlarmEditor, argparse.Namespace], str]
"""Changes something, and returns what to say about it."""


def run_change(
    options: argparse.Namespace, *, make: Change, undo: Change, current: Callable[[AlarmEditor], Table]
) -> int:
    """Change, list or undo; return 0, or 2 after an error."""

    def run() -> int:
        console = Console()
        with _open_editor(options.model, Settings()) as editor:
            if options.list:
                console.print(current(editor))
                console.print(changes_table("what was changed", editor.changes.newest()))
            else:
                console.print((make if options.undo is None else undo)(editor, options))
        return 0

    return status_of(run, PayloadError, NotFound)


@contextmanager
def _open_editor(model_name: str | None, common: Settings) -> Iterator[AlarmEditor]:
    """Yield what changes the alarms of a model for whoever runs the command. Raises NoSuchModel, LogUnavailable."""
    installation = find_models(common)
    model = installation.choose(model_name)
    manifest = read_manifest(model.folder)
    database = build_database(model.settings)
    try:
        database.migrate()
        changes = AlarmChanges(database, places_of(installation, database)[model.name].model_id)
        yield AlarmEditor(changes, manifest, user())
    finally:
        database.dispose()


def user() -> str:
    """Return the name of the user who runs the command; in a container there may be none."""
    try:
        return f"{getuser()} (command line)"[:128]
    except (KeyError, OSError):
        return "command line"


def changes_table(title: str, changes: Sequence[AlarmChange]) -> Table:
    """Return changes of a model's alarms as a table."""
    table = Table(title=title, title_justify="left")
    for header in ("id", "when (UTC)", "who", "what", "check", "column", "value", "until (UTC)", "why"):
        table.add_column(header)
    for change in changes:
        what = change.action if change.undoes is None else f"{change.action} {change.undoes}"
        check = " ".join(part for part in (change.check, change.measure) if part)
        value = "" if change.value is None else f"{change.value:.6g}"
        until = "" if change.until is None else f"{change.until:%Y-%m-%d %H:%M}"
        when = f"{change.made_at:%Y-%m-%d %H:%M}"
        row = (str(change.id), when, change.made_by, what, check, change.column or "", value, until, change.reason)
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())
