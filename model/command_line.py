"""What the commands of this package share: options, a progress bar, the facts about a model, the table of columns."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from model.alarms.policy import AlarmPolicy
from model.artifact.manifest import ALARM_KINDS, AlarmKind, ClassifierManifest, Feature, Manifest, Parity
from model.artifact.traffic import TrafficAlarms
from model.data.column_types import MAX_CATEGORIES
from model.data.csv_file import Column, CsvColumns
from model.data.schema_file import write_schema
from model.data.time_column import zone_of
from model.errors import DataError, ModelError

DEFAULT_FOLDER = Path("data/model")
MISSING_TARGET = ("drop", "refuse")
MISSING_TARGET_HELP = "rows without a target: leave them out and say how many, or refuse the file (default: drop)"
ALARM_HELP = {
    "false_alarm_rate": "chance of any drift alarm in a window where nothing has changed (default: %(default)s)",
    "false_alerts_a_month": "alerts a month at most while nothing happens, where alarms are calibrated on windows of "
    "real traffic (default: %(default)s)",
    "wasserstein_floor": "smallest drift of a number worth an alarm, in standard deviations (default: %(default)s)",
    "jensenshannon_floor": "smallest drift of a category, prediction or label worth one (default: %(default)s)",
    "concept_gap_floor": "smallest excess of the error rate worth one, or of a number's error, in standard "
    "deviations of the target (default: %(default)s)",
    "attribution_floor": "smallest change of the attributions' shares worth one (default: %(default)s)",
}


def add_alarms(parser: argparse.ArgumentParser) -> None:
    """Add the options that set the alarms."""
    policy = parser.add_argument_group("alarms", "kept in the manifest and used for every window")
    policy.add_argument(
        "--alarms",
        choices=ALARM_KINDS,
        help="what is usual: as in the rows cut in time (time), in the first week of the service's own windows "
        "(learn), or as if rows were drawn from one bag (rows); default: time with --time, rows for bundled data, "
        "else learn",
    )
    policy.add_argument(
        "--time-zone",
        default="UTC",
        metavar="ZONE",
        help="of times without an offset, and of the hours and weekdays that traffic follows, such as Europe/Paris "
        "(default: %(default)s)",
    )
    for field in _numbers():
        flag = "--" + field.name.replace("_", "-")
        policy.add_argument(flag, type=float, default=field.default, metavar="X", help=ALARM_HELP[field.name])


def _numbers() -> "list[Field[Any]]":
    return [field for field in fields(AlarmPolicy) if isinstance(field.default, float)]


def add_rows(parser: argparse.ArgumentParser, rows: str, name: str) -> None:
    """Add what commands ask of a model that was fitted elsewhere: its rows, what they are, the artifact, the alarms."""
    add = parser.add_argument
    add("--reference", type=Path, required=True, metavar="CSV", help=rows)
    add("--target", required=True, metavar="COL", help="the column of CSV that holds the labels")
    add("--missing-target", choices=MISSING_TARGET, help=MISSING_TARGET_HELP)
    add("--schema", type=Path, metavar="YAML", help="what the columns are, where inference is wrong")
    add("--separator", type=separator_of, metavar="CHAR", help="comma, semicolon, tab or bar (default: found)")
    add("--name", metavar="NAME", help=f"of the model (default: that of {name})")
    add("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    add("--seed", type=seed_of, default=0, metavar="N", help="default: %(default)s")
    add("--time", metavar="COL", help="the column that says when each row happened: alarms are calibrated in time")
    add_alarms(parser)


def check_alarms(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command where alarms in time have no column of times."""
    if options.time is None and options.alarms == "time":
        parser.error("--alarms time goes with --time")


def made(make: Callable[[argparse.Namespace, Console], Manifest], options: argparse.Namespace, note: str) -> int:
    """Make an artifact, and say what it is; return the exit status: 0, or 2 with what is wrong on standard error."""
    console = Console()
    try:
        manifest = make(options, console)
    except ModelError as error:
        sys.stderr.write(f"error: {plain(str(error))}\n")
        return 2
    console.print(summary(manifest, options.out))
    console.print(note)
    return 0


def policy_of(options: argparse.Namespace, *, bundled: bool = False) -> AlarmPolicy:
    """Return the alarm policy of the options; raises DataError for a value that makes no sense."""
    zone_of(options.time_zone)
    kind: AlarmKind = options.alarms or ("time" if options.time is not None else "rows" if bundled else "learn")
    numbers = {field.name: getattr(options, field.name) for field in _numbers()}
    return AlarmPolicy(kind=kind, time_zone=options.time_zone, **numbers)


def separator_of(text: str) -> str:
    """Return the separator that a word or the character itself names."""
    names = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
    if text not in {*names, *names.values()}:
        raise argparse.ArgumentTypeError(f"{text!r} is none of comma, semicolon, tab, bar")
    return names.get(text, text)


def seed_of(text: str) -> int:
    """Return a seed that every library takes."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError("a seed lies between 0 and 4294967295")
    return value


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add the options for training on the rows of the prediction log."""
    log = parser.add_argument_group(
        "labelled rows of the prediction log",
        "the VIGIE_ settings name the log; the candidate is compared with the serving model on rows new to both",
    )
    log.add_argument("--from-log", action="store_true", help="train on logged predictions whose label has come")
    log.add_argument("--since", metavar="TIME", help="first moment, such as 2026-11-23T04:45 (UTC)")
    log.add_argument("--until", metavar="TIME", help="end, not included (default: now)")
    log.add_argument("--serving", type=Path, metavar="DIR", help="the serving model (default: VIGIE_MODEL_DIR)")
    log.add_argument("--model", metavar="NAME", help="which of the models in VIGIE_MODELS_DIR")


def check_log(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command where options for the log are incomplete or contradict others."""
    if options.from_log:
        if options.since is None:
            parser.error("--from-log needs --since")
        of_files = ("csv", "dataset", "target", "time", "schema", "write_schema", "task", "separator", "missing_target")
        for name in of_files:
            if getattr(options, name) is not None:
                parser.error(f"--from-log and --{name.replace('_', '-')} exclude each other")
    elif any(value is not None for value in (options.since, options.until, options.serving, options.model)):
        parser.error("--since, --until, --serving and --model go with --from-log")


def serving_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the model that serves. Raises DataError where the options do not say which one."""
    if options.serving is not None:
        return Path(options.serving)
    if folder := os.environ.get("VIGIE_MODELS_DIR"):
        name = options.model or os.environ.get("VIGIE_DEFAULT_MODEL")
        if not name:
            raise DataError(f"there are several models in {folder}; name one with --model")
        return Path(folder) / name
    return Path(os.environ.get("VIGIE_MODEL_DIR") or DEFAULT_FOLDER)


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show a bar while the body runs, and yield a function that takes the step and its share done."""
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
        yield lambda step, share: bar.update(task, description=step, completed=share)


def plain(text: str) -> Text:
    """Return text of a file as a terminal may show it: it neither styles the output nor gives the terminal orders."""
    shown = (one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
    return Text("".join(shown))


def summary(manifest: Manifest, folder: Path) -> Table:
    """Return the main facts about a trained model."""
    data, parity = manifest.data, manifest.parity
    table = Table(title=plain(f"model {manifest.name} {manifest.version}"), show_header=False, title_justify="left")

    def add(name: str, fact: str) -> None:
        table.add_row(name, plain(fact))

    add("rows", f"{data.rows} ({data.train_rows} train, {data.test_rows} test, {data.reference_rows} reference)")
    if data.train_rows:
        add("", "the model never sees the test rows, which measure it, nor the reference, which windows compare with")
    add(*_quality(manifest))
    add("estimator", manifest.estimator)
    add("engine", manifest.engine if parity.reason is None else f"{manifest.engine}: {parity.reason}")
    if difference := _difference(manifest):
        add("ONNX against scikit-learn", difference)
    if isinstance(manifest, ClassifierManifest) and manifest.answer == "own predict" and not manifest.is_watched:
        add("answer", "what the model's own predict says, which is not always the most probable class")
    for name, fact in _limits(manifest.features):
        add(name, fact)
    if manifest.attributions_missing:
        add("attributions", f"none: {manifest.attributions_missing}")
    limits = [(threshold.column, threshold.at(200)) for threshold in manifest.thresholds]
    shown = ", ".join(f"{column} {limit:.2f}" for column, limit in limits[:6])
    add("drift alarms at 200 rows", shown + (f", … {len(limits)} in all" if len(limits) > 6 else ""))
    add("alarms", _alarms(manifest))
    add("artifact", str(folder))
    return table


def _limits(features: Sequence[Feature]) -> Iterator[tuple[str, str]]:
    """Yield what the model was not seen to take, and what happens to it."""
    clipped = [f"{one.name} {one.clip[0]:.4g} to {one.clip[1]:.4g}" for one in features if one.clip is not None]
    closed = [one.name for one in features if one.closed]
    for name, columns in (("numbers beyond count as the nearer end", clipped), ("unseen values are refused", closed)):
        if columns:
            yield name, ", ".join(columns[:6]) + (f", … {len(columns)} in all" if len(columns) > 6 else "")


def _alarms(manifest: Manifest) -> str:
    """Return what the alarms are calibrated on."""
    if manifest.traffic is None:
        return "rows: right where rows come like draws from one bag; hours and weekdays count as drift"
    if manifest.traffic.start is None:
        return (
            "learn: only gross changes alarm until the service has seen a week of its own windows"
            if manifest.alarms == "learn"
            else "time: too few days of rows; only gross changes alarm until the service has seen a week of windows"
        )
    return f"time: {_history(manifest.traffic)}"


def _history(traffic: TrafficAlarms) -> str:
    """Return what the history had, and what can be promised from so much of it."""
    lengths = ", ".join(f"{windows:,} of {_duration(seconds)}" for seconds, windows in traffic.lengths.items())
    return (
        f"from {traffic.days:g} days of rows, with windows: {lengths}; in {traffic.false_alarm_days:g} days "
        "without a change, one window may fail all the same"
    )


def _duration(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _quality(manifest: Manifest) -> tuple[str, str]:
    if isinstance(manifest, ClassifierManifest):
        right = manifest.quality
        name, commonest = max(right.per_class.items(), key=lambda item: item[1].rows)
        always = f"always saying {name} would be right in {commonest.rows / right.rows:.3f}"
        return "test accuracy", f"{right.accuracy:.3f} ({right.correct} of {right.rows}; {always})"
    quality, deviation = manifest.quality, manifest.label_range.standard_deviation
    explained = "" if quality.r2 is None else f", R2 {quality.r2:.3f}"
    return (
        "test mean absolute error",
        f"{_written(quality.mean_absolute_error)} on {quality.rows} rows{explained} "
        f"({manifest.target} has a standard deviation of {_written(deviation)})",
    )


def _difference(manifest: Manifest) -> str | None:
    """Return how far the engines are apart, None where there was nothing to compare."""
    parity = manifest.parity
    if isinstance(parity, Parity):
        if parity.max_probability_difference is None:
            return None
        return (
            f"probabilities within {parity.max_probability_difference:.1e} on {parity.rows} rows, "
            f"{parity.class_disagreements} other classes"
        )
    if parity.max_difference is None:
        return None
    return f"within {parity.max_difference:.1e} standard deviations of {manifest.target} on {parity.rows} rows"


_MAX_EXAMPLE = 24
_MAX_SHOWN = 60
_NARROW = 90
"""Characters of a terminal below which a table of six columns would cut some of them off."""


def column_table(columns: CsvColumns, width: int = 120) -> Table:
    """Return a row per column: type, missing, distinct, example, why; dropped columns last, however many are kept.

    A terminal of less than 90 characters gets the same facts on two lines a column.
    """
    titles = ("column", "type", "missing", "distinct", "example", "why")
    rows = []
    for some, what in ((columns.kept, "features"), (columns.dropped, "dropped columns, named in GET /model")):
        rows += [_facts(column) for column in some[:_MAX_SHOWN]]
        if len(some) > _MAX_SHOWN:
            rows.append((f"… {len(some) - _MAX_SHOWN} more {what}", "", "", "", "", ""))
    rows += [(name, "metadata", "", "", "", "not in the file, as the schema says") for name in columns.only_sent]
    rows.append(_target_facts(columns))
    table = Table(
        title=plain(f"{columns.text.path.name}: {columns.text.reading}"),
        title_justify="left",
        show_header=width >= _NARROW,
        show_lines=width < _NARROW,
    )
    if width < _NARROW:
        table.add_column(overflow="fold", ratio=2)
        table.add_column(overflow="fold", ratio=3)
        for name, kind, missing, distinct, example, why in rows:
            counts = f"{missing or 0} missing, {distinct} different, such as {example}; " if distinct else ""
            table.add_row(Text.assemble(plain(name), "\n", _type(kind)), plain(counts + why))
        return table
    for title in titles:
        table.add_column(title, justify="right" if title in {"missing", "distinct"} else "left", overflow="fold")
    for name, kind, missing, distinct, example, why in rows:
        table.add_row(plain(name), _type(kind), missing, distinct, plain(example), plain(why))
    return table


_Facts = tuple[str, str, str, str, str, str]


def _facts(column: Column) -> _Facts:
    shown = column.example if len(column.example) <= _MAX_EXAMPLE else column.example[: _MAX_EXAMPLE - 1] + "…"
    return column.name, column.type or "dropped", str(column.missing), str(column.distinct), shown, column.why


def _target_facts(columns: CsvColumns) -> _Facts:
    target, task = columns.target, columns.task
    why = f"{task.task}: {task.why}"
    if columns.without_target:
        why += f"; {columns.without_target:,} rows without it are left out"
    example = next((cell for cell in target.cells if cell is not None), "")[:_MAX_EXAMPLE]
    return target.name, "target", str(columns.without_target or ""), str(len(target.counts)), example, why


def _type(kind: str) -> Text:
    return Text(kind, style="yellow" if kind == "dropped" else "")


def write_columns(columns: CsvColumns, path: Path) -> None:
    """Write the inferred columns as a schema file, for a person to edit; raises DataError."""
    schema = columns.schema
    kept = []
    for column in columns.kept:
        most = column.override.categories or (MAX_CATEGORIES if column.other else None)
        kept.append((column.name, column.override.model_copy(update={"type": column.type, "categories": most})))
    dropped = [(column.name, column.why) for column in columns.dropped if column.name not in schema.metadata]
    write_schema(
        path,
        columns.target.name,
        kept,
        dropped,
        schema.missing,
        task=columns.task.task,
        decimal=schema.decimal,
        metadata=schema.metadata,
        segments=schema.segments,
        fairness=schema.fairness,
    )


def _written(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
