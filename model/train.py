"""The command that trains a model: python -m model.train."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from model.artifact.manifest import DEFAULT_ESTIMATOR, ESTIMATOR_NAMES, TASKS, Manifest
from model.artifact.store import verify_artifact
from model.command_line import (
    DEFAULT_FOLDER,
    MISSING_TARGET,
    MISSING_TARGET_HELP,
    add_alarms,
    add_log,
    check_log,
    plain,
    policy_of,
    progress_bar,
    seed_of,
    separator_of,
    serving_folder,
    summary,
)
from model.errors import ArtifactError, DataError, ModelError

if TYPE_CHECKING:
    from model.data.dataset import AnyDataset

_BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")  # as in model.data.bundled, which takes seconds to import


def main(arguments: list[str] | None = None, prog: str = "python -m model.train") -> int:
    """Train a model and return the exit status: 0, or 2 with what is wrong on standard error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    _check(parser, options)
    console = Console()
    try:
        if options.if_missing and (present := _present(options.out)):
            console.print(f"{options.out} already holds model {present.name} {present.version}; nothing to do")
            return 0
        if options.from_log:
            return _retrain(options, console)
        dataset = _read(options, console)
        if dataset is None:
            return 0
        manifest = _train(dataset, options, console, options.out)
    except ModelError as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return 2
    console.print(summary(manifest, options.out))
    return 0


def _retrain(options: argparse.Namespace, console: Console) -> int:
    """Train a candidate on the log's labelled rows, and say how it does beside the model that serves."""
    with console.status("reading the log"):
        from model.data.csv_file import TimeColumn, read_columns  # noqa: PLC0415 - as in _read
        from model.serving.predictor import load_predictor  # noqa: PLC0415 - as in _read
        from model.training.retraining import compare, labelled_rows  # noqa: PLC0415 - as in _read

    serving = serving_folder(options)
    with console.status("reading the log"):
        before = load_predictor(serving)  # the candidate may take its place
        if before.manifest.is_watched:
            raise DataError(
                f"the model {before.manifest.name} is served elsewhere and only watched here; train it there, on the "
                "rows of python -m scripts.export, and make its new artifact with python -m model.watch"
            )
        with labelled_rows(serving, options.since, options.until, options.model) as logged:
            time = TimeColumn(logged.time, options.time_zone)
            only = list(logged.features)
            columns = read_columns(logged.file, logged.target, logged.schema, only=only, time=time)
        dataset = replace(columns.dataset(), name=before.manifest.name, source=logged.source)
    options.time = logged.time
    _choose_estimator(options, before.manifest)
    out = options.out or serving.with_name(f"{serving.name}-candidate")
    manifest = _train(dataset, options, console, out)
    console.print(summary(manifest, out))
    console.print(plain(compare(out, before).sentence()))
    if out.resolve() != serving.resolve():
        console.print(f"To serve it, copy {out} over {serving} and call POST /model/reload.")
    return 0


def _choose_estimator(options: argparse.Namespace, serving: Manifest) -> None:
    """Train what serves, unless another estimator is asked for. Raises DataError where it cannot be trained here."""
    if options.estimator is not None or options.pipeline is not None:
        return
    if serving.estimator in ESTIMATOR_NAMES:
        options.estimator = serving.estimator
    elif re.fullmatch(r"[\w.]+:\w+", serving.estimator):
        options.pipeline = serving.estimator
    else:
        raise DataError(
            f"the serving model was imported from {serving.estimator}, and cannot be trained again from here; give "
            "--estimator or --pipeline, or train it where it came from, on the rows of python -m scripts.export"
        )


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog=prog, description="Train a model and write its artifact.")
    parser.add_argument(
        "--dataset", choices=_BUNDLED, help="bundled data (default: iris); diabetes has a number to predict"
    )
    own = parser.add_argument_group("your own data", "types of columns are inferred and shown; see docs/your-model.md")
    own.add_argument("--csv", type=Path, metavar="FILE", help="a CSV file with a header line")
    own.add_argument("--target", metavar="COL", help="the column of FILE to predict")
    own.add_argument("--missing-target", choices=MISSING_TARGET, help=MISSING_TARGET_HELP)
    own.add_argument("--task", choices=("auto", *TASKS), help="predict a class or a number (default: found)")
    own.add_argument("--schema", type=Path, metavar="YAML", help="what the columns are, where inference is wrong")
    own.add_argument("--write-schema", type=Path, metavar="YAML", help="write what was inferred, to edit, and stop")
    own.add_argument(
        "--separator", type=separator_of, metavar="CHAR", help="comma, semicolon, tab or bar (default: found)"
    )
    own.add_argument(
        "--time",
        metavar="COL",
        help="the column that says when each row happened: earlier rows train, later ones test, and alarms are "
        "calibrated on windows cut in time",
    )
    own.add_argument(
        "--split", choices=("time", "random"), help="how the rows are divided (default: time, with --time)"
    )
    add_log(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--estimator", choices=ESTIMATOR_NAMES, help=f"(default: {DEFAULT_ESTIMATOR})")
    kind.add_argument("--pipeline", metavar="MODULE:FUNCTION", help="a function that makes your own pipeline")
    parser.add_argument(
        "--refuse-unseen",
        action="store_true",
        help="let the API refuse categories that training has not seen, where the pipeline cannot take them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"default: {DEFAULT_FOLDER}; from the log, the folder beside the serving one",
    )
    parser.add_argument("--seed", type=seed_of, default=0, metavar="N", help="default: %(default)s")
    add_alarms(parser)
    parser.add_argument("--if-missing", action="store_true", help="do nothing where DIR holds a valid model")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    check_log(parser, options)
    if options.from_log:
        return
    options.out = options.out or DEFAULT_FOLDER
    if (options.csv is None) != (options.target is None):
        parser.error("--csv and --target go together")
    if options.csv is not None and options.dataset is not None:
        parser.error("--dataset and --csv exclude each other")
    if options.time is None and (options.split is not None or options.alarms == "time"):
        parser.error("--split and --alarms time go with --time")
    for name in ("missing_target", "task", "schema", "write_schema", "separator", "time"):
        if getattr(options, name) is not None and options.csv is None:
            parser.error(f"--{name.replace('_', '-')} goes with --csv")


def _present(folder: Path) -> Manifest | None:
    try:
        return verify_artifact(folder)
    except ArtifactError:
        return None


def _read(options: argparse.Namespace, console: Console) -> "AnyDataset | None":
    """Return the rows to learn from, None where only the schema was to be written."""
    # Imported behind a display of progress: scikit-learn takes seconds, and --help needs none of it.
    with console.status("reading"):
        from model.command_line import column_table, write_columns  # noqa: PLC0415
        from model.data.bundled import load_bundled  # noqa: PLC0415
        from model.data.csv_file import TimeColumn, read_columns  # noqa: PLC0415
        from model.data.schema_file import SchemaFile, read_schema  # noqa: PLC0415

        if options.csv is None:
            return load_bundled(options.dataset or "iris")
        schema = read_schema(options.schema) if options.schema else SchemaFile()
        task = None if options.task == "auto" else options.task
        if options.task == "auto":
            schema = schema.model_copy(update={"task": None})
        time = None if options.time is None else TimeColumn(options.time, options.time_zone)
        columns = read_columns(
            options.csv,
            options.target,
            schema,
            separator=options.separator,
            task=task,
            time=time,
            every_target=options.missing_target == "refuse",
        )
    console.print(column_table(columns, console.width))
    if options.write_schema:
        write_columns(columns, options.write_schema)
        console.print(f"wrote {options.write_schema}; edit it and train with --schema {options.write_schema}")
        return None
    return columns.dataset()


def _train(dataset: "AnyDataset", options: argparse.Namespace, console: Console, out: Path) -> Manifest:
    with progress_bar(console) as watch:
        from model.training.custom_pipeline import custom_recipe  # noqa: PLC0415 - as above
        from model.training.fit import train_model  # noqa: PLC0415 - as above
        from model.training.pipelines import named_recipe  # noqa: PLC0415 - as above

        name = options.estimator or DEFAULT_ESTIMATOR
        return train_model(
            dataset,
            out,
            recipe=custom_recipe(options.pipeline, dataset.task)
            if options.pipeline
            else named_recipe(name, dataset.task),
            seed=options.seed,
            policy=policy_of(options, bundled=options.csv is None and not options.from_log),
            in_time=options.split != "random",
            refuse_unseen=options.refuse_unseen,
            progress=watch,
        )


if __name__ == "__main__":
    sys.exit(main())
