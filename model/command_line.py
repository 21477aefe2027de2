"""What the commands of this package share: options, a progress bar, the facts about a model, the table of columns."""

import argparse
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
from model.data.csv_file import CsvColumns
from model.data.schema_file import write_schema
from model.data.time_column import zone_of

DEFAULT_FOLDER = Path("data/model")
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
    add(*_quality(manifest))
    add("estimator", manifest.estimator)
    add("engine", manifest.engine if parity.reason is None else f"{manifest.engine}: {parity.reason}")
    if difference := _difference(manifest):
        add("ONNX against scikit-learn", difference)
    if isinstance(manifest, ClassifierManifest) and manifest.answer == "own predict":
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
        f"from {traffic.days:g} days of held-out rows, with windows: {lengths}; in {traffic.false_alarm_days:g} days "
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
        return "test accuracy", f"{right.accuracy:.3f} ({right.correct} of {right.rows})"
    quality, deviation = manifest.quality, manifest.label_range.standard_deviation
    explained = "" if quality.r2 is None else f", R2 {quality.r2:.3f}"
    return (
        "test mean absolute error",
        f"{quality.mean_absolute_error:.4g} on {quality.rows} rows{explained} "
        f"({manifest.target} has a standard deviation of {deviation:.4g})",
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


def column_table(columns: CsvColumns) -> Table:
    """Return a row per column: type, missing, distinct, example, why; dropped columns last."""
    table = Table(title=plain(f"{columns.text.path.name}: {columns.text.reading}"), title_justify="left")
    for name in ("column", "type", "missing", "distinct", "example", "why"):
        table.add_column(name, justify="right" if name in {"missing", "distinct"} else "left")
    everything = [*columns.kept, *columns.dropped]
    for column in everything[:_MAX_SHOWN]:
        table.add_row(
            plain(column.name),
            Text(column.type or "dropped", style="" if column.type else "yellow"),
            str(column.missing),
            str(column.distinct),
            plain(column.example[:_MAX_EXAMPLE]),
            plain(column.why),
        )
    if len(everything) > _MAX_SHOWN:
        table.add_row(f"… {len(everything) - _MAX_SHOWN} more", "", "", "", "", "")
    cells = columns.target_cells
    task = columns.task
    why = f"{task.task}: {task.why}"
    table.add_row(plain(columns.target), "target", "", str(len(set(cells))), plain(cells[0][:_MAX_EXAMPLE]), plain(why))
    return table


def write_columns(columns: CsvColumns, path: Path, missing: tuple[str, ...] = ()) -> None:
    """Write the inferred columns as a schema file, for a person to edit; raises DataError."""
    kept = [(column.name, column.override.model_copy(update={"type": column.type})) for column in columns.kept]
    dropped = [(column.name, column.why) for column in columns.dropped]
    write_schema(path, columns.target, kept, dropped, missing, task=columns.task.task)
