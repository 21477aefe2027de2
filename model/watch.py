"""The command that watches a model which is served elsewhere: python -m model.watch."""

import argparse
import sys

from rich.console import Console

from model.artifact.manifest import TASKS, AnswerColumns, Manifest
from model.command_line import add_rows, check_alarms, made, plain, policy_of, progress_bar
from model.errors import DataError


def main(arguments: list[str] | None = None, prog: str = "python -m model.watch") -> int:
    """Make the artifact of a watched model and return the exit status: 0, or 2 with what is wrong on standard error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    check_alarms(parser, options)
    return made(
        _watch,
        options,
        "The quality and the alarms hold if the model was not fitted on these rows; else they look too good.\n"
        "Another program serves this model: send its predictions to the call log, or with python -m scripts.ingest.",
    )


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make the artifact of a model that is served elsewhere, in any language, from rows with its "
        "predictions and their labels. Its predictions are then logged here and watched; nothing is predicted here.",
    )
    add_rows(parser, rows="rows with predictions and labels", name="the file")
    add = parser.add_argument
    add("--prediction", required=True, metavar="COL", help="the column of CSV that holds the predictions")
    add(
        "--probability",
        type=class_column,
        action="append",
        default=[],
        metavar="CLASS=COL",
        help="the column of a class's probability; once for each class, or for one of two",
    )
    add("--task", choices=TASKS, help="whether it predicts a class or a number (default: found)")
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
