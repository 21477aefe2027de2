"""A reference that is drawn from a service's own rows, and its past windows measured against it. It needs pandas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
from pydantic import TypeAdapter

from api.prediction_log.database import Database
from api.prediction_log.reader import read_filled_windows, read_held_span, read_with_labels
from api.prediction_log.records import SOLE_MODEL, LoggedRow
from api.settings import Settings
from api.snapshots.logged_frames import PastWindows, measure_past, window_frame
from model.alarms.calibrate import MAX_CALIBRATION_ROWS, reference_thresholds
from model.alarms.window_values import MAX_REFERENCE_ROWS, Windows, model_of
from model.artifact.manifest import LABEL, DriftThreshold, Manifest
from model.errors import DataError
from model.serving.predictor import load_predictor

ENOUGH_ROWS, MIN_OWN_ROWS, MIN_OWN_LABELS = 1_000, 200, 50
"""As many rows are drawn at least, if the stretch has them; with fewer than so many, or labels, there is no reference.
"""
_THRESHOLDS = TypeAdapter(tuple[DriftThreshold, ...])


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
