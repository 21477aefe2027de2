"""The alarms of a model as its own windows have shown them: read for each window, learned once there are enough."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from api.prediction_log.alarms import AlarmAction, AlarmLog, AlarmVersion, MeasuredWindow
from api.prediction_log.own_references import OwnReferences
from api.prediction_log.records import LoggedRow
from model.artifact.manifest import LABEL, PREDICTION, DriftThreshold, Manifest
from model.artifact.traffic import OwnReference, ThresholdOverride, TrafficAlarms

if TYPE_CHECKING:
    import pandas as pd

    from model.alarms.window_values import Windows

logger = logging.getLogger(__name__)

TRIES_WHILE_LEARNING = 50
"""A statistic may come late, as labels do: so often in a learning phase it is seen whether there is one to learn."""
_THRESHOLDS = TypeAdapter(list[DriftThreshold])
_OWN_COLUMNS = {"prediction_drift": PREDICTION, "target_drift": LABEL}


@dataclass(frozen=True, slots=True)
class LearningState:
    """What is known of a model's alarms: their version (None: the artifact's), and how far learning has come.

    `learned` is the time that measured windows span, of the `period` that is needed; `statistics` is how many are still
    to be learned. Until then only gross changes of them alarm. `reference` is the one that the service's own rows are,
    None where it is the artifact's.
    """

    version: int | None
    statistics: int
    learned: timedelta
    period: timedelta
    reference: OwnReference | None = None

    @property
    def is_learning(self) -> bool:
        """Whether the usual values of some statistics are not known yet."""
        return self.statistics > 0


class ServiceAlarms:
    """The alarms that hold for each version of a model: those of its artifact, and what its windows have shown."""

    def __init__(self, log: AlarmLog, learning_period: timedelta) -> None:
        self._log = log
        self._references = OwnReferences(log.database, log.model_id)
        self._period = learning_period
        self._tried: dict[str, float] = {}

    def current(self, manifest: Manifest) -> tuple[Manifest, int | None]:
        """Return the manifest with the alarms that hold now, and their version, None if they are the artifact's.

        Its `own_reference` is the one that windows are measured against then. Raises LogUnavailable.
        """
        newest = self._log.newest(manifest.version)
        if newest is None:
            return manifest, None
        own = {} if newest.reference_id is None else self._own(newest)
        if own is None:  # what it was calibrated against is gone, so its alarms mean nothing
            return manifest, None
        overrides = tuple(ThresholdOverride(one["name"], one["column"], one["value"]) for one in newest.overrides)
        manifest = manifest.model_copy(update={"overrides": overrides, **own})
        if (found := _alarms_in(newest)) is None:
            return manifest, newest.id
        alarms = found if manifest.traffic is None else manifest.traffic.replaced(found)
        return manifest.model_copy(update={"traffic": alarms}), newest.id

    def reference_rows(self, reference: OwnReference) -> list[LoggedRow]:
        """Return the rows of a reference of the service's own. Raises LogUnavailable."""
        return self._references.rows(reference.id)

    def _own(self, version: AlarmVersion) -> dict[str, Any] | None:
        """Return the fields of the manifest that go with a reference of the service's own; None where it is gone."""
        stored = None if version.reference_id is None else self._references.find(version.reference_id)
        if stored is None or not stored.about.rows:
            logger.error("the reference of alarms version %d is gone; those of the artifact hold", version.id)
            return None
        return {"own_reference": stored.about, "thresholds": tuple(_THRESHOLDS.validate_json(stored.thresholds))}

    def state(self, manifest: Manifest) -> LearningState:
        """Return how far learning has come. Raises LogUnavailable."""
        current, version = self.current(manifest)
        gross = () if current.traffic is None else current.traffic.gross
        learned = timedelta(0)
        if gross and (span := self._log.learned_span(manifest.version, self._since(manifest.version))):
            learned = span[1] - span[0]
        return LearningState(version, len(gross), learned, self._period, current.own_reference)

    def learn(self, manifest: Manifest) -> AlarmVersion | None:
        """Learn what is usual of the statistics of which it is not known, if there are windows enough.

        Return the new version of the alarms, None where nothing was learned. To be called after a window was posted;
        most calls are one small query. Raises LogUnavailable.
        """
        current, _ = self.current(manifest)
        if current.traffic is None or not current.traffic.gross or self._tried_lately(manifest.version):
            return None
        since = self._since(manifest.version)
        span = self._log.learned_span(manifest.version, since)
        if span is None or span[1] - span[0] < self._period:
            return None
        self._tried[manifest.version] = monotonic()
        reference_id = None if current.own_reference is None else current.own_reference.id
        measured = self._log.measured(manifest.version, since)
        found = self._learned(current, [window for window in measured if window.reference_id == reference_id])
        if found is None:
            return None
        added = self._log.add(manifest.version, AlarmAction.LEARNED, found.model_dump_json(), reference_id)
        logger.info("alarms version %d: learned what is usual from %.1f days of windows", added.id, span_days(found))
        return added

    def _learned(self, current: Manifest, measured: Sequence[MeasuredWindow]) -> TrafficAlarms | None:
        from model.alarms.learning import learn  # noqa: PLC0415 - imports pandas, which serving does without

        traffic = current.traffic
        if traffic is None or not measured:
            return None
        interval = usual_interval(measured)
        found = learn(
            windows_in(measured, interval, current),
            interval,
            current,
            false_alarm_days=traffic.false_alarm_days,
            zone=traffic.time_zone,
            least_seconds=self._period.total_seconds(),
            only=traffic.gross,
        )
        return None if found is None else traffic.replaced(found)

    def _since(self, model_version: str) -> datetime | None:
        """Return from when on windows count: since someone threw away what had been learned."""
        newest = self._log.newest(model_version, learned=True)
        return newest.made_at if newest is not None and newest.content is None else None

    def _tried_lately(self, model_version: str) -> bool:
        tried = self._tried.get(model_version)
        return tried is not None and monotonic() - tried < self._period.total_seconds() / TRIES_WHILE_LEARNING


def _alarms_in(version: AlarmVersion) -> TrafficAlarms | None:
    if version.content is None:
        return None
    try:
        return TrafficAlarms.model_validate_json(version.content)
    except ValidationError:
        logger.exception("alarms version %d cannot be read; those of the artifact hold", version.id)
        return None


def usual_interval(measured: Sequence[MeasuredWindow]) -> int:
    """Return the length, in seconds, that most of some windows have."""
    lengths = Counter(round((window.end - window.start).total_seconds()) for window in measured)
    return max(1, lengths.most_common(1)[0][0])


def span_days(alarms: TrafficAlarms) -> float:
    """Return the days of the history of some alarms."""
    if alarms.start is None or alarms.end is None:
        return 0.0
    return (alarms.end - alarms.start) / timedelta(days=1)


def windows_in(
    measured: Sequence[MeasuredWindow],
    interval_seconds: int,
    manifest: Manifest,
    reference: "pd.DataFrame | None" = None,
) -> "Windows":
    """Return the measured windows of that length as arrays, as if they had just been measured; see `windows_of`."""
    from model.alarms.learning import StoredWindow, windows_of  # noqa: PLC0415 - imports pandas, as serving does not
    from model.alarms.window_values import Name  # noqa: PLC0415 - as above

    return windows_of(
        [
            StoredWindow(
                round(window.start.timestamp()),
                window.rows,
                window.labelled_rows,
                {
                    Name(name, _OWN_COLUMNS.get(name, column or None)): value
                    for (name, column), value in window.values.items()
                },
            )
            for window in measured
            if round((window.end - window.start).total_seconds()) == interval_seconds
        ],
        manifest,
        reference,
    )
