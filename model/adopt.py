"""The command that adopts a fitted pipeline: python -m model.adopt."""

import argparse
import csv
import sys
from pathlib import Path

from rich.console import Console

from model.artifact.manifest import Manifest
from model.command_line import add_rows, check_alarms, made, policy_of, progress_bar


def main(arguments: list[str] | None = None, prog: str = "python -m model.adopt") -> int:
    """Import a fitted pipeline and return the exit status: 0, or 2 with what is wrong on standard error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    check_alarms(parser, options)
    print(
        f"warning: loading {options.pipeline} runs whatever code it holds; adopt only a file that you trust",
        file=sys.stderr,
    )
    note = "The quality and the alarms hold if the pipeline was not fitted on these rows; else they look too good."
    return made(_adopt, options, note)


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make the artifact of a pipeline that was fitted elsewhere. Loading it runs its code.",
    )
    add_rows(parser, rows="rows with labels that it was not fitted on", name="the pipeline's file")
    add = parser.add_argument
    add(
        "--pipeline",
        type=Path,
        required=True,
        metavar="FILE",
        help="a fitted model: a file of joblib or skops, or a model folder of MLflow",
    )
    add("--columns", type=_names_of, metavar="A,B,…", help="its columns in order, if it was fitted on arrays")
    add("--any-version", action="store_true", help="take a pipeline that another scikit-learn saved")
    add(
        "--refuse-unseen",
        action="store_true",
        help="let the API refuse categories that training has not seen, where the pipeline cannot take them",
    )
    return parser


def _names_of(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas; quotes hold a comma in a name, as in a CSV file."""
    return tuple(name.strip() for name in next(csv.reader([text])))


def _adopt(options: argparse.Namespace, console: Console) -> Manifest:
    # Imported behind a display of progress: scikit-learn takes seconds, and --help needs none of it.
    with console.status("reading"):
        from model.command_line import column_table  # noqa: PLC0415
        from model.data.csv_file import TimeColumn, read_columns  # noqa: PLC0415
        from model.data.schema_file import SchemaFile, read_schema  # noqa: PLC0415
        from model.training.import_pipeline import import_pipeline, load_fitted  # noqa: PLC0415

        fitted = load_fitted(options.pipeline, any_version=options.any_version, columns=options.columns)
        schema = read_schema(options.schema) if options.schema else SchemaFile()
        columns = read_columns(
            options.reference,
            options.target,
            schema,
            separator=options.separator,
            only=fitted.columns,
            task=fitted.task,
            time=None if options.time is None else TimeColumn(options.time, options.time_zone),
            every_target=options.missing_target == "refuse",
        )
    console.print(column_table(columns, console.width))
    dataset = columns.dataset(fitted.classes, name=options.name or options.pipeline.stem)
    with progress_bar(console) as watch:
        return import_pipeline(
            fitted,
            dataset,
            options.out,
            seed=options.seed,
            policy=policy_of(options),
            refuse_unseen=options.refuse_unseen,
            progress=watch,
        )


if __name__ == "__main__":
    sys.exit(main())
