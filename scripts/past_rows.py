"""The past rows that a backtest judges: those of a CSV file, or those of the prediction log."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from api.alerts.rules import Quorum
from api.installed_models import with_drift_floors
from api.prediction_log.database import Database, missing_file
from api.prediction_log.reader import HeldSpan, read_filled_windows, read_held_span
from api.settings import Settings
from api.snapshots.learning import ServiceAlarms
from api.wiring import build_database, build_service_alarms
from model.artifact.manifest import LABEL, ClassifierManifest, Manifest
from model.artifact.store import read_estimates, read_manifest, read_reference
from model.artifact.traffic import OwnReference
from model.errors import DataError

if TYPE_CHECKING:  # it imports pandas, which takes a second
    import pandas as pd

    from api.snapshots.logged_frames import PastWindows
    from model.alarms.window_checks import JudgedWindow
    from model.statistics.windows import TimedRows


@dataclass(frozen=True, slots=True)
class Rules:
    """How rows are cut and judged: the window's length, the fewest rows and labels, and when an alert fires."""

    seconds: int
    min_rows: int
    min_labels: int
    quorum: Quorum


@dataclass(slots=True)
class Judged:
    """The verdict on the windows by a model's alarms, and what else is to be said: to people, and in the summary."""

    manifest: Manifest
    windows: "list[JudgedWindow]" = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def judge_file(options: argparse.Namespace, rules: Rules, folder: Path, progress: Console) -> Judged:
    """Judge the rows of a CSV file, as predicted by the model in the folder. Raises ModelError."""
    manifest = read_manifest(folder)
    with progress.status("reading and predicting the rows"):
        scored = _scored_rows(options, folder, manifest)
    with progress.status(f"measuring windows of {rules.seconds} s"):
        judged = Judged(manifest, _checked(rules, manifest, folder, scored, reference=read_reference(folder)))
    missing = int(scored.rows[LABEL].isna().sum()) if LABEL in scored.rows else len(scored.rows)
    if LABEL not in scored.rows:
        judged.notes.append(f"The file has no column {manifest.target!r}, so no check that needs labels was judged.")
    elif missing:
        judged.notes.append(f"{missing:,} of {len(scored.rows):,} rows have no label.")
    return judged


def _scored_rows(options: argparse.Namespace, folder: Path, manifest: Manifest) -> "TimedRows":
    """Return the rows of the file as the log would have them: with the model's predictions, and labels if any."""
    from model.data.csv_file import TimeColumn, read_known_rows  # noqa: PLC0415 - as above
    from model.data.encoding import rows_of  # noqa: PLC0415 - as above
    from model.data.schema_file import segment_values  # noqa: PLC0415 - as above
    from model.serving.engines import with_predictions  # noqa: PLC0415 - as above
    from model.serving.predictor import load_predictor  # noqa: PLC0415 - as above
    from model.statistics.segments import metadata_columns  # noqa: PLC0415 - as above
    from model.statistics.windows import TimedRows  # noqa: PLC0415 - imports pandas; --help needs none
    from model.training.watched import known_answers  # noqa: PLC0415 - as above

    classes, names = None, None
    if isinstance(manifest, ClassifierManifest):
        classes, names = manifest.classes, manifest.class_names
    known = read_known_rows(
        options.csv,
        manifest.features,
        options.target or manifest.target,
        TimeColumn(options.time, options.time_zone or "UTC"),
        classes,
        needs_labels=options.target is not None,
    )
    if manifest.answer_columns is not None:
        answers = known_answers(known.text, manifest.answer_columns, classes)
    else:
        answers = load_predictor(folder).answers(rows_of(known.frame, manifest.features))
    frame = with_predictions(known.frame, answers, names).assign(
        **segment_values(metadata_columns(manifest), known.text)
    )
    return TimedRows(frame if known.labels is None else frame.assign(**{LABEL: known.labels}), known.times.seconds)


def _checked(
    rules: Rules,
    manifest: Manifest,
    folder: Path,
    predicted: "TimedRows",
    *,
    reference: "pd.DataFrame",
    labelled: "TimedRows | None" = None,
) -> "list[JudgedWindow]":
    from model.alarms.window_checks import check_windows  # noqa: PLC0415 - as above

    return check_windows(
        *predicted,
        rules.seconds,
        manifest,
        reference,
        min_rows=rules.min_rows,
        labelled=labelled,
        min_labels=rules.min_labels,
        estimates=read_estimates(folder),
    )


def judge_log(
    options: argparse.Namespace,
    rules: Rules,
    folder: Path,
    settings: Settings,
    *,
    progress: Console,
    id_in: Callable[[Database], int],
    drift_floors: Iterable[tuple[str, float]] = (),
) -> Judged:
    """Judge the rows that the log has in a span, and the labels that arrived in it.

    Rows of other versions are predicted again by the model in the folder. The alarms are those that hold now for its
    version. ``id_in`` returns the model's id in the log. Raises LogUnavailable and ModelError.
    """
    if (file := missing_file(settings.database_url.get_secret_value())) is not None:
        raise DataError(f"there is no prediction log at {file}; VIGIE_DATABASE_URL names another one")
    database = build_database(settings)
    try:
        database.migrate()
        of_model = (database, id_in(database))
        return _judge_windows(options, rules, folder, settings, of_model, progress=progress, drift_floors=drift_floors)
    finally:
        database.dispose()


def _judge_windows(
    options: argparse.Namespace,
    rules: Rules,
    folder: Path,
    settings: Settings,
    of_model: tuple[Database, int],
    *,
    progress: Console,
    drift_floors: Iterable[tuple[str, float]],
) -> Judged:
    from api.snapshots.logged_frames import CHUNK_ROWS, PastWindows  # noqa: PLC0415 - as above
    from model.serving.predictor import load_predictor  # noqa: PLC0415 - as above

    database, model_id = of_model
    held = read_held_span(*of_model)
    start, end = whole_windows(options.start, options.end, rules.seconds, held)
    filled = read_filled_windows(database, start, end, rules.seconds, model_id)
    if held is None or not filled:
        raise DataError(f"the log has no rows from {in_utc(start)} to {in_utc(end)}; {holding(held)}")
    past = PastWindows(database, load_predictor(folder), settings.snapshot_max_rows, model_id)
    alarms = build_service_alarms(settings, database, model_id)
    calibrated, alarms_version = alarms.current(past.manifest)
    reference = reference_of(alarms, calibrated, folder)
    manifest = with_drift_floors(calibrated, drift_floors)
    judged = Judged(manifest)
    with Progress(*Progress.get_default_columns()[:3], TimeRemainingColumn(), console=progress, transient=True) as bar:
        task = bar.add_task("windows of the log", total=len(filled))
        for chunk in past.read(filled, rules.seconds, CHUNK_ROWS):
            found = _checked(rules, manifest, folder, chunk.predicted, reference=reference, labelled=chunk.labelled)
            judged.windows += found if options.json is not None else map(_without_columns, found)
            bar.advance(task, chunk.windows)
    judged.notes = list(_log_notes(options, past, settings, held, end, own=manifest.own_reference))
    judged.facts = {
        "model_version": manifest.version,
        "alarms_version": alarms_version,
        "predicted_again": past.predicted_again,
        "sampled_windows": past.sampled,
        "log_from": held.first.isoformat(),
        "log_to": held.last.isoformat(),
    }
    return judged


def _without_columns(window: "JudgedWindow") -> "JudgedWindow":
    """Return a window with one value of each name: of a year of minutes, all of them would fill the memory."""
    return window._replace(values={name._replace(column=None): value for name, value in window.values.items()})


def whole_windows(start: datetime, end: datetime, seconds: int, held: HeldSpan | None) -> tuple[datetime, datetime]:
    """Return the span of the windows that lie wholly in the given one and have ended; raises DataError if none does."""
    until = end if held is None else min(end, held.now)
    first, last = -(-start.timestamp() // seconds), until.timestamp() // seconds
    if first >= last:
        raise DataError(
            f"no whole window of {seconds} s lies between {in_utc(start)} and {in_utc(until)}; windows end on "
            "multiples of their length in UTC. Give a longer span or a shorter --interval"
        )
    return datetime.fromtimestamp(first * seconds, UTC), datetime.fromtimestamp(last * seconds, UTC)


def reference_of(alarms: ServiceAlarms, current: Manifest, folder: Path) -> "pd.DataFrame":
    """Return the rows that windows are measured against now: the service's own, or those of the artifact."""
    from api.snapshots.logged_frames import window_frame  # noqa: PLC0415 - as above

    own = current.own_reference
    if own is None:
        return read_reference(folder)
    return window_frame(alarms.reference_rows(own), current, labelled=True)


def _log_notes(
    options: argparse.Namespace,
    past: "PastWindows",
    settings: Settings,
    held: HeldSpan,
    end: datetime,
    *,
    own: OwnReference | None,
) -> Iterator[str]:
    """Yield what of the log was judged, and how."""
    if own is not None:
        yield f"The reference is {own.text}."
    yield f"In all, {holding(held)}."
    if options.start < held.first:
        yield f"Rows older than {settings.log_keep_days} days are removed."
    if options.end > held.now and held.last >= end:
        yield f"The window that began at {in_utc(end)} is still open and is left out."
    if past.predicted_again:
        yield (
            f"{past.predicted_again:,} rows and labelled rows of other versions of the model were predicted again by "
            f"version {past.manifest.version}."
        )
    if past.sampled:
        yield f"Of {past.sampled:,} windows a sample of about {settings.snapshot_max_rows:,} rows was measured."


def holding(held: HeldSpan | None) -> str:
    """Say from when to when the log has rows."""
    return (
        "the log is empty" if held is None else f"the log holds rows from {in_utc(held.first)} to {in_utc(held.last)}"
    )


def in_utc(time: datetime) -> str:
    """Return a time for people, without seconds that are 0."""
    return f"{time:%Y-%m-%d %H:%M}" + (f":{time:%S}" if time.second else "") + " UTC"
