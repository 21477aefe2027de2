"""Evaluates a stretch of the log: reads it, explains it, makes its snapshot. Runs in the worker: it needs pandas."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.installed_models import with_drift_floors
from api.prediction_log.alarms import AlarmLog
from api.prediction_log.database import Database
from api.prediction_log.reader import WindowRows, count_versions, read_labelled, read_predictions, read_rejections
from api.prediction_log.records import SOLE_MODEL
from api.serving.model_archive import ModelArchive
from api.snapshots.learning import ServiceAlarms
from api.snapshots.logged_frames import window_frame
from api.snapshots.window_models import WindowModels, explained_places
from evidently_workspace.results import RowIds, WindowSnapshot
from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.artifact.store import NO_ESTIMATES
from model.artifact.traffic import LABELLED_LEVELS
from model.statistics.lasting import Gathered, Key, block_seconds, blocks_looked_at, gatherer


@dataclass(frozen=True, slots=True)
class WindowEvaluation:
    """The result for a stretch; ``snapshot`` is None, with the reason, if there was not enough data.

    ``manifest`` is that of the version whose rows were measured; ``alarms_version`` is None where its artifact's own
    alarms judged them.
    """

    logged: WindowRows
    labelled: WindowRows
    snapshot: WindowSnapshot | None
    reason: str | None
    manifest: Manifest
    alarms_version: int | None = None


@dataclass(frozen=True, slots=True)
class SampleLimits:
    """How many rows and labels a snapshot needs, and how many rows are measured at most."""

    min_rows: int
    min_labels: int
    max_rows: int


READ_AT_ONCE = 500
"""Past windows whose values are in memory together, about 10 MB; of each only what is gathered is kept."""


class PastWindows:
    """What the windows before one measured, by which changes that last are found; each is read from the log once."""

    def __init__(self, log: AlarmLog) -> None:
        self._log = log
        self._of: tuple[str, list[Key]] = ("", [])
        self._known: dict[datetime, NDArray[np.float64]] = {}

    def gathered(self, manifest: Manifest, start: datetime, end: datetime) -> dict[Key, Gathered]:
        """Return the sums over the windows before this one, of what levels are known of. Raises LogUnavailable."""
        seconds = (end - start).total_seconds()
        levels = manifest.traffic.levels_of(seconds) if manifest.traffic else []
        if not levels:
            return {}
        keys: list[Key] = [(level.name, level.column) for level in levels]
        if self._of != (manifest.version, keys):
            self._of, self._known = (manifest.version, keys), {}
        starts = self._read(start - timedelta(seconds=block_seconds(seconds)) * blocks_looked_at(seconds), start)
        if not starts:
            return {}
        table = np.array([self._known[one] for one in starts]).T
        labels = np.array([key[0] in LABELLED_LEVELS for key in keys])
        rows = np.where(labels[:, None], table[1], table[0])
        values = dict(zip(keys, table[2:], strict=True))
        moments = np.array([round(one.timestamp()) for one in starts], dtype=np.int64)
        sums = gatherer(values, dict(zip(keys, rows, strict=True)), moments, seconds)
        return sums(round(start.timestamp()))

    def _read(self, first: datetime, end: datetime) -> list[datetime]:
        """Read the windows in [first, end) that are not known yet, forget older ones; return their starts in order."""
        version, keys = self._of
        starts = self._log.starts(version, first, end)
        new = [one for one in starts if one not in self._known]
        for place in range(0, len(new), READ_AT_ONCE):
            until = new[place + READ_AT_ONCE] if place + READ_AT_ONCE < len(new) else end
            for window in self._log.measured(version, new[place], until):
                values = [window.values.get((name, column or ""), np.nan) for name, column in keys]
                self._known[window.start] = np.array([window.rows, window.labelled_rows, *values])
        self._known = {one: self._known[one] for one in starts if one in self._known}
        return list(self._known)


class WindowEvaluator:
    """Evaluates stretches of one model's log, each against the reference of the version that made most of its rows.

    Raises model.errors.ArtifactError.
    """

    def __init__(
        self,
        database: Database,
        model_dir: Path,
        archive: ModelArchive,
        limits: SampleLimits,
        alarms: ServiceAlarms,
        *,
        model_id: int = SOLE_MODEL,
        drift_floors: Iterable[tuple[str, float]] = (),
    ) -> None:
        self._drift_floors = drift_floors
        self._database = database
        self._model_id = model_id
        self._alarms = alarms
        self._limits = limits
        self._models = WindowModels(model_dir, archive)
        self._past = PastWindows(AlarmLog(database, model_id))

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version that was read last."""
        return self._models.newest.manifest

    def evaluate(self, start: datetime, end: datetime) -> WindowEvaluation:
        """Evaluate the rows logged, and the labels that arrived, in [start, end).

        Raises LogUnavailable, and ArtifactError where the rows' version cannot be read from the folder.
        """
        limits = self._limits
        counts = count_versions(self._database, start, end, self._model_id)
        model = self._models.choose(counts, limits.min_rows, limits.min_labels)
        calibrated, alarms_version = self._alarms.current(model.manifest)
        manifest = with_drift_floors(calibrated, self._drift_floors)
        span = (self._database, start, end, manifest.version, limits.max_rows)
        logged = read_predictions(*span, model_id=self._model_id)
        labelled = read_labelled(*span, model_id=self._model_id)
        if logged.total < limits.min_rows and labelled.total < limits.min_labels:
            return WindowEvaluation(logged, labelled, None, self._shortage(logged, labelled), manifest)
        current = window_frame(logged.rows, manifest, labelled=False)
        attributions, attributions_missing = model.explanations.explain(current, end - start)
        snapshot = take_snapshot(
            Window(start, end),
            current,
            window_frame(labelled.rows, manifest, labelled=True),
            model.reference,
            manifest,
            min_rows=limits.min_rows,
            min_labels=limits.min_labels,
            sampled_fraction=logged.fraction,
            attributions=attributions,
            attributions_missing=attributions_missing,
            rejected_requests=read_rejections(self._database, start, end, self._model_id),
            rows_by_version={version: count.rows for version, count in counts.items()},
            other_labels=labelled.other_versions,
            origin=self._database.log_id(),
            estimates=model.estimates,
            estimates_missing=NO_ESTIMATES,
            past=self._past.gathered(manifest, start, end),
            ids=RowIds(
                [row.prediction_id for row in logged.rows],
                [row.prediction_id for row in labelled.rows],
                explained_places(len(current), attributions),
            ),
        )
        return WindowEvaluation(logged, labelled, snapshot, None, manifest, alarms_version)

    def learn(self, manifest: Manifest) -> None:
        """Learn what is usual from the windows so far, if it is time; see `ServiceAlarms.learn`."""
        self._alarms.learn(manifest)

    def _shortage(self, logged: WindowRows, labelled: WindowRows) -> str:
        reason = (
            f"not enough data: {logged.total} of at least {self._limits.min_rows} rows, "
            f"{labelled.total} of at least {self._limits.min_labels} labels"
        )
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows were predicted by another version of the model"
        return reason
