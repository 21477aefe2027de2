"""The command that watches a model which is served elsewhere: python -m model.watch."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from model.artifact.manifest import TASKS, AnswerColumns, Manifest
from model.command_line import (
    DEFAULT_FOLDER,
    MISSING_TARGET,
    MISSING_TARGET_HELP,
    add_alarms,
    plain,
    policy_of,
    progress_bar,
    seed_of,
    separator_of,
    summary,
)
from model.errors import DataError, ModelError


def main(arguments: list[str] | None = None, prog: str = "python -m model.watch") -> int:
    """Make the artifact of a watched model and return the exit status: 0, or 2 with what is wrong on standard error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    if options.time is None and options.alarms == "time":
        parser.error("--alarms time goes with --time")
    console = Console()
    try:
        manifest = _watch(options, console)
    except ModelError as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return 2
    console.print(summary(manifest, options.out))
    console.print(
        "The quality and the alarms hold if the model was not fitted on these rows; else they look too good.\n"
        "Another program serves this model: send its predictions to the call log, or with python -m scripts.ingest."
    )
    return 0


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make the artifact of a model that is served elsewhere, in any language, from rows with its "
        "predictions and their labels. Its predictions are then logged here and watched; nothing is predicted here.",
    )
    add = parser.add_argument
    add("--reference", type=Path, required=True, metavar="CSV", help="rows with predictions and labels")
    add("--prediction", required=True, metavar="COL", help="the column of CSV that holds the predictions")
    add(
        "--probability",
        type=class_column,
        action="append",
        default=[],
        metavar="CLASS=COL",
        help="the column of a class's probability; once for each class, or for one of two",
    )
    add("--target", required=True, metavar="COL", help="the column of CSV that holds the labels")
    add("--missing-target", choices=MISSING_TARGET, help=MISSING_TARGET_HELP)
    add("--task", choices=TASKS, help="whether it predicts a class or a number (default: found)")
    add("--schema", type=Path, metavar="YAML", help="what the columns are, where inference is wrong")
    add("--separator", type=separator_of, metavar="CHAR", help="comma, semicolon, tab or bar (default: found)")
    add("--name", metavar="NAME", help="of the model (default: that of the file)")
    add("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    add("--seed", type=seed_of, default=0, metavar="N", help="default: %(default)s")
    add("--time", metavar="COL", help="the column that says when each row happened: alarms are calibrated in time")
    add_alarms(parser)
    return parser


def class_column(text: str) -> tuple[str, str]:
    """Return the class and the column that CLASS=COLUMN names."""
    name, sign, column = text.partition("=")
    if not (name.strip() and sign and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not CLASS=COLUMN, such as yes=probability_yes")
    return name.strip(), column


def _columns(options: argparse.Namespace) -> AnswerColumns:
    by_class = dict(options.probability)
    if len(by_class) < len(options.probability):
        raise DataError("--probability names a class twice; name one column for each class")
    return AnswerColumns(prediction=options.prediction, probabilities=by_class)


def _watch(options: argparse.Namespace, console: Console) -> Manifest:
    # Imported behind a display of progress: scikit-learn takes seconds, and --help needs none of it.
    with console.status("reading"):
        from model.command_line import column_table  # noqa: PLC0415
        from model.data.csv_file import TimeColumn  # noqa: PLC0415
        from model.data.schema_file import SchemaFile, read_schema  # noqa: PLC0415
        from model.training.watched import read_answered, watch_model, watched_rows  # noqa: PLC0415

        answers = _columns(options)
        columns = read_answered(
            options.reference,
            options.target,
            answers,
            read_schema(options.schema) if options.schema else SchemaFile(),
            separator=options.separator,
            task=options.task,
            time=None if options.time is None else TimeColumn(options.time, options.time_zone),
            every_target=options.missing_target == "refuse",
        )
    console.print(column_table(columns, console.width))
    rows = watched_rows(columns, answers, options.name)
    for note in rows.notes:
        console.print(plain(f"note: {note}"))
    with progress_bar(console) as bar:
        return watch_model(rows, options.out, seed=options.seed, policy=policy_of(options), progress=bar)


if __name__ == "__main__":
    sys.exit(main())
