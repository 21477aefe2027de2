"""Evaluates a stretch of the log: reads it, explains it, makes its snapshot. Runs in the worker: it needs pandas."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api.alerts.next_steps import NextSteps
from api.installed_models import with_drift_floors
from api.prediction_log.alarm_changes import AlarmChanges, mute_of
from api.prediction_log.alarms import AlarmLog
from api.prediction_log.database import Database
from api.prediction_log.reader import WindowRows, count_versions, read_labelled, read_predictions, read_rejections
from api.prediction_log.records import SOLE_MODEL
from api.serving.model_archive import ModelArchive
from api.snapshots.learning import ServiceAlarms
from api.snapshots.logged_frames import window_frame
from api.snapshots.window_models import WindowModel, WindowModels, explained_places
from evidently_workspace.results import FailedCheck, Mute, RowIds, WindowSnapshot
from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.artifact.estimates import DISTANCE
from model.artifact.manifest import Manifest
from model.artifact.store import NO_ESTIMATES
from model.artifact.traffic import LABELLED_LEVELS, OwnReference
from model.errors import ArtifactError
from model.statistics.estimation import SETTLED_WINDOWS, widening
from model.statistics.lasting import Gathered, Key, block_seconds, blocks_looked_at, gatherer, without_hours

logger = logging.getLogger(__name__)


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


MAX_BACK, LATE = 5 * SETTLED_WINDOWS, 10
"""Windows back that are looked at, as not each has labels, and that are looked at again, as some are put off."""
_FIRST = datetime.min.replace(tzinfo=UTC)
READ_AT_ONCE = 500
"""Past windows whose values are in memory together, about 10 MB; of each only what is gathered is kept."""


class PastWindows:
    """What the windows before one measured, by which changes that last are found; each is read from the log once."""

    def __init__(self, log: AlarmLog) -> None:
        self._log = log
        self._of: tuple[str, int | None, list[Key]] = ("", None, [])
        self._known: dict[datetime, NDArray[np.float64]] = {}

    def gathered(self, manifest: Manifest, start: datetime, end: datetime) -> dict[Key, Gathered]:
        """Return the sums over the windows before this one, of what levels are known of.

        Windows count that were measured against the same reference. Raises LogUnavailable.
        """
        seconds = (end - start).total_seconds()
        levels = manifest.traffic.levels_of(seconds) if manifest.traffic else []
        if not levels:
            return {}
        keys: list[Key] = [(level.name, level.column) for level in levels]
        of = (manifest.version, None if manifest.own_reference is None else manifest.own_reference.id, keys)
        if self._of != of:
            self._of, self._known = of, {}
        starts = self._read(start - timedelta(seconds=block_seconds(seconds)) * blocks_looked_at(seconds), start)
        if not starts:
            return {}
        table = np.array([self._known[one] for one in starts]).T
        labels = np.array([key[0] in LABELLED_LEVELS for key in keys])
        rows = np.where(labels[:, None], table[1], table[0])
        moments = np.array([round(one.timestamp()) for one in starts], dtype=np.int64)
        zone = ZoneInfo(manifest.traffic.time_zone) if manifest.traffic else UTC
        values = without_hours(levels, dict(zip(keys, table[2:], strict=True)), moments, zone)
        sums = gatherer(values, dict(zip(keys, rows, strict=True)), moments, seconds)
        return sums(round(start.timestamp()))

    def _read(self, first: datetime, end: datetime) -> list[datetime]:
        """Read the windows in [first, end) that are not known yet, forget older ones; return their starts in order."""
        version, reference_id, keys = self._of
        starts = self._log.starts(version, first, end, reference_id)
        new = [one for one in starts if one not in self._known]
        for place in range(0, len(new), READ_AT_ONCE):
            until = new[place + READ_AT_ONCE] if place + READ_AT_ONCE < len(new) else end
            for window in self._log.measured(version, new[place], until):
                if window.reference_id != reference_id:
                    continue
                values = [window.values.get((name, column or ""), np.nan) for name, column in keys]
                self._known[window.start] = np.array([window.rows, window.labelled_rows, *values])
        self._known = {one: self._known[one] for one in starts if one in self._known}
        return list(self._known)


def _back(moment: datetime, time: timedelta) -> datetime:
    """Return the moment that lies so long before, or the first there is: a stretch cut by hand may be a century."""
    return moment - min(time, moment - _FIRST)


class SettledEstimates:
    """How far the true scores of past windows were from their estimates; each window is read from the log once."""

    def __init__(self, log: AlarmLog) -> None:
        self._log = log
        self._of: tuple[str, timedelta] = ("", timedelta(0))
        self._until = _FIRST
        self._known: dict[datetime, dict[str, float]] = {}

    def widening(self, version: str, start: datetime, end: datetime) -> dict[str, float]:
        """Return by how much the intervals of a window are to be widened, by score. Raises LogUnavailable."""
        length = end - start
        if self._of != (version, length) or start < self._until:
            self._of, self._until, self._known = (version, length), _back(start, MAX_BACK * length), {}
        since = max(_back(self._until, LATE * length), _back(start, MAX_BACK * length))
        for window in self._log.measured(version, since, start):
            distances = {score: value for (name, score), value in window.values.items() if name == DISTANCE}
            if distances and window.end - window.start == length:
                self._known[window.start] = distances
        self._until = start
        self._known = {one: self._known[one] for one in sorted(self._known)[-SETTLED_WINDOWS:]}
        newest = self._known.values()
        scores = dict.fromkeys(score for one in newest for score in one)
        return {score: widening([one[score] for one in newest if score in one]) for score in scores}


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
        next_steps: NextSteps | None = None,
        drift_floors: Iterable[tuple[str, float]] = (),
    ) -> None:
        self._drift_floors = drift_floors
        self._database = database
        self._next_steps = next_steps
        self._model_id = model_id
        self._alarms = alarms
        self._limits = limits
        self._models = WindowModels(model_dir, archive)
        self._past = PastWindows(AlarmLog(database, model_id))
        self._settled = SettledEstimates(AlarmLog(database, model_id))
        self._own_reference: tuple[OwnReference, pd.DataFrame] | None = None

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
            self._reference(manifest, model),
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
            widening=self._settled.widening(manifest.version, start, end) if model.estimates is not None else {},
            next_step=self._next_step(start),
            mute_of=self._mutes(start),
            ids=RowIds(
                [row.prediction_id for row in logged.rows],
                [row.prediction_id for row in labelled.rows],
                explained_places(len(current), attributions),
            ),
        )
        return WindowEvaluation(logged, labelled, snapshot, None, manifest, alarms_version)

    def _reference(self, manifest: Manifest, model: WindowModel) -> pd.DataFrame:
        """Return the rows to measure against: the service's own where they stand in, else those of the artifact."""
        own = manifest.own_reference
        if own is None:
            return model.reference
        if self._own_reference is None or self._own_reference[0] != own:
            frame = window_frame(self._alarms.reference_rows(own), manifest, labelled=True)
            if frame.empty:  # removed since the alarms were read
                raise ArtifactError("the reference that windows are measured against has just been removed")
            self._own_reference = own, frame
            logger.info("windows are measured against %s", own.text)
        return self._own_reference[1]

    def learn(self, manifest: Manifest) -> None:
        """Learn what is usual from the windows so far, if it is time; see `ServiceAlarms.learn`."""
        self._alarms.learn(manifest)

    def _next_step(self, start: datetime) -> Callable[[FailedCheck], str] | None:
        steps = self._next_steps
        return None if steps is None else lambda failed: steps.after(asdict(failed), start)

    def _mutes(self, start: datetime) -> Callable[[FailedCheck], Mute | None]:
        """Return what finds the mute of a failed check of this window. Raises LogUnavailable."""
        held = AlarmChanges(self._database, self._model_id).mutes(ended=True)

        def find(failed: FailedCheck) -> Mute | None:
            mute = mute_of(held, asdict(failed), start)
            if mute is None or mute.until is None:
                return None
            return Mute(f"{mute.until:%Y-%m-%d %H:%M} UTC", f"{mute.reason} ({mute.made_by})")

        return find

    def _shortage(self, logged: WindowRows, labelled: WindowRows) -> str:
        reason = (
            f"not enough data: {logged.total} of at least {self._limits.min_rows} rows, "
            f"{labelled.total} of at least {self._limits.min_labels} labels"
        )
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows were predicted by another version of the model"
        return reason
