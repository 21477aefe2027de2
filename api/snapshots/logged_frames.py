"""Logged rows as the frames that are measured: a window, past windows, a reference. It imports no Evidently."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from api.prediction_log.database import Database
from api.prediction_log.reader import (
    WindowRows,
    read_filled_windows,
    read_held_span,
    read_labelled,
    read_predictions,
    read_with_labels,
)
from api.prediction_log.records import SOLE_MODEL, LoggedRow
from api.settings import Settings
from model.alarms.calibrate import MAX_CALIBRATION_ROWS, reference_thresholds
from model.alarms.learning import joined
from model.alarms.window_values import MAX_REFERENCE_ROWS, Model, Windows, measure_windows, model_of
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, DriftThreshold, Manifest
from model.data.cells import segment_value
from model.data.encoding import encoding_of, rows_of
from model.errors import DataError
from model.serving.engines import with_predictions
from model.serving.predictor import AnyPredictor, load_predictor
from model.statistics.segments import metadata_columns
from model.statistics.windows import TimedRows

CHUNK_ROWS = 100_000
"""Rows and labels of the log that are in memory at once."""
ENOUGH_ROWS, MIN_OWN_ROWS, MIN_OWN_LABELS = 1_000, 200, 50
"""As many rows are drawn at least, if the stretch has them; with fewer than so many, or labels, there is no reference.
"""
_THRESHOLDS = TypeAdapter(tuple[DriftThreshold, ...])


def window_frame(rows: Sequence[LoggedRow], manifest: Manifest, *, labelled: bool) -> pd.DataFrame:
    """Build one frame: features in schema order, ``prediction``, ``probability_<class>`` and, if labelled, ``label``.

    Numbers are float64 with NaN where missing; categories and booleans are text with None where missing. Predictions
    and labels are text, or numbers where the model predicts one: what does not read as a number is NaN then.
    """
    columns: dict[str, pd.Series] = {
        feature.name: encoding_of(feature).column([row.features[feature.name] for row in rows])
        for feature in manifest.features
    }
    columns |= _predictions(rows, manifest) | _segments(rows, manifest)
    if labelled:
        columns[LABEL] = _answers([row.label for row in rows], manifest)
    return pd.DataFrame(columns)


def _segments(rows: Sequence[LoggedRow], manifest: Manifest) -> dict[str, pd.Series]:
    """Return the metadata by which rows are divided, as it was logged with them."""
    return {
        column: pd.Series([segment_value(row.features.get(name)) for row in rows], dtype=object)
        for name, column in metadata_columns(manifest).items()
    }


def _predictions(rows: Sequence[LoggedRow], manifest: Manifest) -> dict[str, pd.Series]:
    """Return predictions as they were logged; a probability that was not logged is NaN."""
    columns = {PREDICTION: _answers([row.prediction for row in rows], manifest)}
    if isinstance(manifest, ClassifierManifest):
        for name in manifest.class_names:
            probabilities = [row.probabilities.get(name, math.nan) for row in rows]
            columns[f"{PROBABILITY_PREFIX}{name}"] = pd.Series(probabilities, dtype="float64")
    return columns


def _answers(logged: list[str | None] | list[str], manifest: Manifest) -> pd.Series:
    if isinstance(manifest, ClassifierManifest):
        return pd.Series(logged, dtype="object")
    return pd.Series([_number(text) for text in logged], dtype="float64")


def _number(text: str | None) -> float:
    # Not pandas' own reader, which is off in the last digit.
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


class PastWindows:
    """Reads past windows of a log, whatever version of the model predicted their rows.

    Rows of the predictor's version are as they were logged; those of other versions are predicted again by the
    predictor, but for a model that is served elsewhere. Of a window with more than ``max_rows`` rows, or labels, a
    random sample is read, as for a snapshot.
    """

    def __init__(self, database: Database, predictor: AnyPredictor, max_rows: int, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._model_id = model_id
        self._predictor = predictor
        self._max_rows = max_rows
        self.predicted_again = 0
        """Rows and labelled rows of other versions that were read so far."""
        self.sampled = 0
        """Windows so far of which a sample was read."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the predictor's version."""
        return self._predictor.manifest

    def read(self, windows: Mapping[datetime, int], seconds: int, chunk_rows: int) -> Iterator["PastRows"]:
        """Yield the rows and labels of these windows of so many seconds, in the order of time, in chunks of windows.

        ``windows`` says how many rows and labels each has at most, by its start. A chunk has about ``chunk_rows`` of
        both together, and one window at least. Raises LogUnavailable and PredictionError.
        """
        chunk = _Chunk()
        for start, expected in windows.items():
            if chunk.windows and chunk.size + min(expected, 2 * self._max_rows) > chunk_rows:
                yield chunk.joined()
                chunk = _Chunk()
            span = (self._database, start, start + timedelta(seconds=seconds), None, self._max_rows)
            chunk.windows += 1
            logged = read_predictions(*span, model_id=self._model_id)
            labelled = read_labelled(*span, model_id=self._model_id)
            self.sampled += logged.fraction < 1 or labelled.fraction < 1
            chunk.predicted.append(self._timed(logged, start, labelled=False))
            chunk.labelled.append(self._timed(labelled, start, labelled=True))
        if chunk.windows:
            yield chunk.joined()

    def _timed(self, read: WindowRows, start: datetime, *, labelled: bool) -> TimedRows:
        manifest = self.manifest
        ours = [row for row in read.rows if row.model_version == manifest.version]
        frame = window_frame(ours, manifest, labelled=labelled)
        if len(ours) < len(read.rows):
            others = [row for row in read.rows if row.model_version != manifest.version]
            self.predicted_again += 0 if manifest.is_watched else len(others)
            again = self._predicted(others, labelled=labelled)
            frame = pd.concat([frame, again], ignore_index=True) if ours else again
        return TimedRows(frame, np.full(len(frame), start.timestamp()))

    def _predicted(self, rows: Sequence[LoggedRow], *, labelled: bool) -> pd.DataFrame:
        manifest = self.manifest
        frame = pd.DataFrame(
            {
                # Another version may have had other columns, or other types of them.
                feature.name: encoding_of(feature).coerced_column(
                    pd.Series([row.features.get(feature.name) for row in rows], dtype="object")
                )
                for feature in manifest.features
            }
        )
        names = manifest.class_names if isinstance(manifest, ClassifierManifest) else None
        if manifest.is_watched:
            frame = frame.assign(**_predictions(rows, manifest))
        else:
            frame = with_predictions(frame, self._predictor.answers(rows_of(frame, manifest.features)), names)
        frame = frame.assign(**_segments(rows, manifest))
        return frame.assign(**{LABEL: _answers([row.label for row in rows], manifest)}) if labelled else frame


def measure_past(
    past: PastWindows,
    windows: Mapping[datetime, int],
    seconds: int,
    models: Sequence[Model],
    *,
    min_rows: int,
    min_labels: int,
    progress: Callable[[int], None] = lambda _windows: None,
) -> list[Windows]:
    """Measure past windows as snapshots do, once for each model: against its reference. The log is read once.

    ``windows`` are as for `PastWindows.read`, and not empty; ``progress`` is called with how many are done. Raises
    LogUnavailable and PredictionError.
    """
    parts: list[list[Windows]] = [[] for _ in models]
    for chunk in past.read(windows, seconds, CHUNK_ROWS):
        for found, model in zip(parts, models, strict=True):
            found.append(
                measure_windows(
                    *chunk.predicted,
                    seconds,
                    model,
                    min_rows,
                    labelled=chunk.labelled,
                    min_labels=min_labels,
                    segment_drift=True,
                )
            )
        progress(chunk.windows)
    return [joined(found) for found in parts]


@dataclass(frozen=True, slots=True)
class PastRows:
    """The rows predicted in some windows, and those whose label arrived in them; each at the start of its window."""

    predicted: TimedRows
    labelled: TimedRows
    windows: int


@dataclass(slots=True)
class _Chunk:
    """The windows of a chunk so far."""

    predicted: list[TimedRows] = field(default_factory=list)
    labelled: list[TimedRows] = field(default_factory=list)
    windows: int = 0

    @property
    def size(self) -> int:
        """How many rows and labels it has."""
        return sum(len(part.rows) for part in (*self.predicted, *self.labelled))

    def joined(self) -> PastRows:
        """Return its rows together."""
        return PastRows(_joined(self.predicted), _joined(self.labelled), self.windows)


def _joined(parts: Sequence[TimedRows]) -> TimedRows:
    filled = [part for part in parts if len(part.rows)] or parts[:1]
    rows = pd.concat([part.rows for part in filled], ignore_index=True)
    return TimedRows(rows, np.concatenate([part.seconds for part in filled]))


@dataclass(frozen=True, slots=True)
class DrawnReference:
    """Rows of the log that are to be the reference, also as a frame, and the drift that rows like them show."""

    rows: Sequence[LoggedRow]
    frame: pd.DataFrame
    thresholds: tuple[DriftThreshold, ...]

    @property
    def thresholds_json(self) -> str:
        """Return the thresholds as the log keeps them."""
        return _THRESHOLDS.dump_json(self.thresholds).decode()

    @property
    def text(self) -> str:
        """Return how many rows and labels it has, in words."""
        return f"{len(self.rows):,} rows of the stretch, {int(self.frame[LABEL].notna().sum()):,} of them with labels"


def draw_reference(
    database: Database, manifest: Manifest, start: datetime, end: datetime, model_id: int = SOLE_MODEL
) -> DrawnReference:
    """Draw as many rows as the artifact's reference has, or ENOUGH_ROWS, of what its version predicted in [start, end).

    The same rows are drawn each time, unless some were erased. Raises LogUnavailable, and DataError where there are too
    few rows or labels.
    """
    size = min(max(manifest.data.reference_rows, ENOUGH_ROWS), MAX_REFERENCE_ROWS)
    span = (database, start, end, manifest.version)
    read = read_with_labels(*span, size, model_id=model_id)
    frame = window_frame(read.rows, manifest, labelled=True)
    _check_size(read.total, frame, manifest)
    population = frame
    if read.total > size < MAX_CALIBRATION_ROWS:
        more = read_with_labels(*span, MAX_CALIBRATION_ROWS, model_id=model_id)
        population = window_frame(more.rows, manifest, labelled=True)
    return DrawnReference(read.rows, frame, reference_thresholds(manifest, frame, population))


def _check_size(found: int, frame: pd.DataFrame, manifest: Manifest) -> None:
    if found < MIN_OWN_ROWS:
        raise DataError(
            f"the log has {found:,} rows of version {manifest.version} in that stretch, and a reference needs at least "
            f"{MIN_OWN_ROWS:,}; give a longer stretch, or a later one: the log removes old rows"
        )
    labelled = int(frame[LABEL].notna().sum())
    if labelled < MIN_OWN_LABELS:
        raise DataError(
            f"{labelled:,} of the {len(frame):,} rows drawn from that stretch have a label, and a reference needs at "
            f"least {MIN_OWN_LABELS:,}; send the labels, or give a stretch whose labels have arrived"
        )


def measure_stretch(
    of_model: tuple[Database, int],
    settings: Settings,
    span: tuple[datetime, datetime],
    seconds: int,
    *,
    references: Sequence[tuple[Manifest, pd.DataFrame]],
    progress: Callable[[int, int], None],
) -> list[Windows]:
    """Measure the windows of a stretch again, from the rows of the log, against each of some references.

    Windows end on multiples of their length. ``progress`` is called with how many are done since, and how many there
    are. Raises LogUnavailable, ModelError, and DataError where the log has no more rows of the stretch.
    """
    database, model_id = of_model
    first, last = -(-span[0].timestamp() // seconds), span[1].timestamp() // seconds
    start, end = (datetime.fromtimestamp(number * seconds, UTC) for number in (first, last))
    filled = read_filled_windows(database, start, end, seconds, model_id) if first < last else {}
    held = read_held_span(database, model_id)
    if not filled or held is None:
        raise DataError(_no_rows(None if held is None else held.first))
    past = PastWindows(database, load_predictor(settings.model_dir), settings.snapshot_max_rows, model_id)
    return measure_past(
        past,
        filled,
        seconds,
        [model_of(manifest, frame) for manifest, frame in references],
        min_rows=settings.snapshot_min_rows,
        min_labels=settings.snapshot_min_labels,
        progress=lambda done: progress(done, len(filled)),
    )


def _no_rows(first: datetime | None) -> str:
    held = "the log holds none at all" if first is None else f"the log holds rows from {first:%Y-%m-%d %H:%M} UTC on"
    return (
        "the windows of that stretch were measured against another reference, and to measure them again takes their "
        f"rows; {held}. Give a later stretch"
    )
