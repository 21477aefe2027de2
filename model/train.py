"""The command that trains a model: python -m model.train."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from model.alarm_policy import AlarmPolicy
from model.artifact import verify_artifact
from model.errors import ArtifactError, ModelError
from model.estimator_names import DEFAULT_ESTIMATOR, ESTIMATOR_NAMES
from model.manifest import Manifest

if TYPE_CHECKING:
    from model.dataset import Dataset

DEFAULT_FOLDER = Path("data/model")
ALARM_HELP = {
    "false_alarm_rate": "chance of any drift alarm in a quiet window (default: %(default)s)",
    "wasserstein_floor": "smallest drift of a number worth an alarm, in standard deviations (default: %(default)s)",
    "jensenshannon_floor": "smallest drift of a category, prediction or label worth one (default: %(default)s)",
    "concept_gap_floor": "smallest surplus of the error rate worth one (default: %(default)s)",
    "attribution_floor": "smallest change of the attributions' shares worth one (default: %(default)s)",
}


def main(arguments: list[str] | None = None) -> int:
    """Train as asked for and return the exit status: 0, or 2 with one line on standard error."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    console = Console()
    try:
        if options.if_missing and (present := _present(options.out)):
            console.print(f"{options.out} already holds model {present.name} {present.version}; nothing to do")
            return 0
        dataset = _read(options, console)
        if dataset is None:
            return 0
        manifest = _train(dataset, options, console)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(summary(manifest, options.out))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description="Train a model and write its artifact.")
    parser.add_argument("--dataset", choices=("iris", "wine", "breast_cancer"), help="bundled data (default: iris)")
    own = parser.add_argument_group("your own data", "types of columns are inferred and shown; see docs/your-model.md")
    own.add_argument("--csv", type=Path, metavar="FILE", help="a CSV file with a header line")
    own.add_argument("--target", metavar="COL", help="the column of FILE to predict")
    own.add_argument("--schema", type=Path, metavar="YAML", help="what the columns are, where inference is wrong")
    own.add_argument("--write-schema", type=Path, metavar="YAML", help="write what was inferred, to edit, and stop")
    own.add_argument(
        "--separator", type=_separator, metavar="CHAR", help="comma, semicolon, tab or bar (default: found)"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--estimator", choices=ESTIMATOR_NAMES, help=f"(default: {DEFAULT_ESTIMATOR})")
    kind.add_argument("--pipeline", metavar="MODULE:FUNCTION", help="a function that makes your own pipeline")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: %(default)s")
    policy = parser.add_argument_group("alarms", "kept in the manifest and used for every window")
    for field in fields(AlarmPolicy):
        flag = "--" + field.name.replace("_", "-")
        policy.add_argument(flag, type=float, default=field.default, metavar="X", help=ALARM_HELP[field.name])
    parser.add_argument("--if-missing", action="store_true", help="do nothing where DIR holds a valid model")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if (options.csv is None) != (options.target is None):
        parser.error("--csv and --target go together")
    if options.csv is not None and options.dataset is not None:
        parser.error("--dataset and --csv exclude each other")
    for name in ("schema", "write_schema", "separator"):
        if getattr(options, name) is not None and options.csv is None:
            parser.error(f"--{name.replace('_', '-')} goes with --csv")


def _separator(text: str) -> str:
    names = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
    if text not in {*names, *names.values()}:
        raise argparse.ArgumentTypeError(f"{text!r} is none of comma, semicolon, tab, bar")
    return names.get(text, text)


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError("a seed lies between 0 and 4294967295")
    return value


def _present(folder: Path) -> Manifest | None:
    try:
        return verify_artifact(folder)
    except ArtifactError:
        return None


def _read(options: argparse.Namespace, console: Console) -> "Dataset | None":
    """Return the rows to learn from, None where only the schema was to be written."""
    # Imported behind a display of progress: scikit-learn takes seconds, and --help needs none of it.
    with console.status("reading"):
        from model.bundled import load_bundled  # noqa: PLC0415
        from model.column_table import column_table, write_columns  # noqa: PLC0415
        from model.csv_file import read_columns  # noqa: PLC0415
        from model.schema_file import SchemaFile, read_schema  # noqa: PLC0415

        if options.csv is None:
            return load_bundled(options.dataset or "iris")
        schema = read_schema(options.schema) if options.schema else SchemaFile()
        columns = read_columns(options.csv, options.target, schema, separator=options.separator)
    console.print(column_table(columns))
    if options.write_schema:
        write_columns(columns, options.write_schema, schema.missing)
        console.print(f"wrote {options.write_schema}; edit it and train with --schema {options.write_schema}")
        return None
    return columns.dataset()


def _train(dataset: "Dataset", options: argparse.Namespace, console: Console) -> Manifest:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=1.0)
        from model.own_pipeline import own_recipe  # noqa: PLC0415 - as above
        from model.pipeline import named_recipe  # noqa: PLC0415 - as above
        from model.training import train_model  # noqa: PLC0415 - as above

        name = options.estimator or DEFAULT_ESTIMATOR
        return train_model(
            dataset,
            options.out,
            recipe=own_recipe(options.pipeline) if options.pipeline else named_recipe(name),
            seed=options.seed,
            policy=AlarmPolicy(**{field.name: getattr(options, field.name) for field in fields(AlarmPolicy)}),
            progress=lambda step, share: bar.update(task, description=step, completed=share),
        )


def summary(manifest: Manifest, folder: Path) -> Table:
    """Return the facts about a trained model that a person wants to see first."""
    data, quality, parity = manifest.data, manifest.quality, manifest.parity
    table = Table(title=f"model {manifest.name} {manifest.version}", show_header=False, title_justify="left")
    table.add_row(
        "rows",
        f"{data.rows} ({data.train_rows} train, {data.test_rows} test, {data.reference_rows} reference)",
    )
    table.add_row("test accuracy", f"{quality.accuracy:.3f} ({quality.correct} of {quality.rows})")
    table.add_row("estimator", Text(manifest.estimator))
    table.add_row("engine", manifest.engine if parity.reason is None else f"{manifest.engine}: {parity.reason}")
    if parity.max_probability_difference is not None:
        table.add_row(
            "ONNX against scikit-learn",
            f"probabilities within {parity.max_probability_difference:.1e} on {parity.rows} rows, "
            f"{parity.class_disagreements} other classes",
        )
    if manifest.attributions_missing:
        table.add_row("attributions", Text(f"none: {manifest.attributions_missing}"))
    limits = [(threshold.column, threshold.at(200)) for threshold in manifest.thresholds]
    shown = ", ".join(f"{column} {limit:.2f}" for column, limit in limits[:6])
    table.add_row("drift alarms at 200 rows", shown + (f", … {len(limits)} in all" if len(limits) > 6 else ""))
    table.add_row("artifact", str(folder))
    return table


if __name__ == "__main__":
    sys.exit(main())
