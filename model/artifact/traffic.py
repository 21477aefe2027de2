"""Alarms of real traffic in the manifest: what is usual at which hour, and from where on it is worth an alarm."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import log
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A part of a manifest: it does not change, knows its fields, and holds finite numbers only."""

    # A finite number everywhere: NaN and infinity are not JSON and would not survive a round trip.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrafficThreshold(Frozen):
    """What a statistic usually is in windows of one length, and from where on it is worth an alarm.

    Both have one value for each place in the cycle: one in all, 24 hours of a day, or 168 hours of a week that begins
    on Monday, by the clock of the time zone.
    """

    name: str = Field(description="As among the values of a snapshot, such as data_drift or accuracy.")
    column: str | None = None
    above: bool = Field(description="Whether large values alarm; else small ones do.")
    interval_seconds: int = Field(ge=1, description="Length of the windows that it was found on.")
    cycle: Literal["none", "hour", "hour_of_week"]
    usual: tuple[float, ...] = Field(min_length=1)
    thresholds: tuple[float, ...] = Field(min_length=1)
    blocks: int = Field(description="Days of the history; weeks, for windows of a week. 0: only a gross change alarms.")
    windows: int = Field(description="Windows of the history.")

    @property
    def is_gross(self) -> bool:
        """Whether this is the threshold of a gross change, which holds while what is usual is being learned."""
        return self.blocks == 0

    def place(self, start: datetime) -> int:
        """Return the place in the cycle of a window that starts then, in the local time of the cycle."""
        return {"none": 0, "hour": start.hour, "hour_of_week": start.weekday() * 24 + start.hour}[self.cycle]


DAY_SECONDS = 86_400
NOT_IN_OLDER_ALARMS = frozenset({"stuck_share", "recall_by_class"})
"""Statistics that alarms calibrated in time may lack: without usual values, a limit by rows alone would fire daily."""

LABELLED_LEVELS: dict[str, str] = {
    "label_share": "target_drift",
    "label_mean": "target_drift",
    "concept_gap": "concept_drift",
    "flipped_share": "concept_drift",
    "random_label_share": "concept_drift",
    "concept_size_gap": "concept_drift",
    "observed_bias": "concept_drift",
    "accuracy": "performance",
    "mean_absolute_error": "performance",
}
"""The values of a window that are gathered over several of them to find what lasts, and the check that fails then.
These are means over the labels that arrived; the others are means over the rows."""
LEVELS: dict[str, str] = {
    "mean": "data_drift",
    "prediction_share": "prediction_drift",
    "prediction_mean": "prediction_drift",
    **LABELLED_LEVELS,
}
LASTING_DAYS = 28
"""The longest stretch of days that are looked at together."""


class TrafficLevel(Frozen):
    """What the mean of a value over whole days usually is, and how the days differ.

    A day is a block: a week, for windows of a week. The days of the history are one piece of a series in which each
    depends on the one before (`autocorrelation`).
    """

    name: str = Field(description="As among the values of a snapshot, such as mean or concept_gap.")
    column: str | None = None
    direction: Literal["both", "above", "below"]
    interval_seconds: int = Field(ge=1, description="Length of the windows that it was found on.")
    mean: float
    deviation: float = Field(ge=0, description="Standard deviation of the means of the days.")
    autocorrelation: float = Field(ge=0, lt=1, description="Of the mean of a day with that of the day before.")
    blocks: int = Field(ge=2, description="Days of the history; weeks, for windows of a week.")
    rows: float = Field(gt=0, description="Rows of a day of the history, on average.")
    smallest_effect: float = Field(ge=0, description="No change that is smaller fails.")
    critical: float = Field(gt=0, description="Standard errors from which a change fails.")
    chance: float = Field(gt=0, lt=1, description="Of a false alarm each time that a stretch of days is looked at.")
    tail: float = Field(ge=0, description="How far off a single day is with that chance, however skewed the days are.")
    hours: tuple[float, ...] = Field(
        (),
        description="What each hour of a local day adds to the mean of the day; empty where hours are alike.",
    )


class TrafficAlarms(Frozen):
    """What windows cut in time showed: from where on a statistic is worth an alarm, beside what the rows alone say."""

    time_column: str | None = Field(None, description="Of the training rows; null where the log said the times.")
    time_zone: str = Field(description="Of times without an offset, and of the hours and weekdays that cycles follow.")
    start: AwareDatetime | None = Field(None, description="The history of windows; null where there is none yet.")
    end: AwareDatetime | None = None
    days: float = Field(description="Days of the history that have rows.")
    false_alarm_days: float = Field(
        description="Days of such traffic in which one window may fail all the same. A short history limits it; "
        "without any history it is what will be aimed at."
    )
    thresholds: tuple[TrafficThreshold, ...]
    levels: tuple[TrafficLevel, ...] = Field((), description="What several windows together are compared with.")

    @property
    def lengths(self) -> dict[int, int]:
        """Return how many windows of each length, in seconds, the history had."""
        found: dict[int, int] = {}
        for one in self.thresholds:
            if not one.is_gross:
                found[one.interval_seconds] = max(one.windows, found.get(one.interval_seconds, 0))
        return found

    @property
    def gross(self) -> tuple[TrafficThreshold, ...]:
        """Return the thresholds of the statistics whose usual values are not known yet."""
        return tuple(one for one in self.thresholds if one.is_gross)

    def replaced(self, found: "TrafficAlarms") -> "TrafficAlarms":
        """Return the newer alarms, with the thresholds and levels of these for what the newer ones lack.

        The smallest gap of a gross change goes together with the threshold of its z.
        """
        names = {(one.name, one.column) for one in found.thresholds}
        names |= {(name.removesuffix("_z") + "_gap", column) for name, column in names if name.endswith("_z")}
        others = tuple(one for one in self.thresholds if (one.name, one.column) not in names)
        gathered = {(one.name, one.column) for one in found.levels}
        levels = tuple(one for one in self.levels if (one.name, one.column) not in gathered)
        return found.model_copy(update={"thresholds": (*found.thresholds, *others), "levels": (*found.levels, *levels)})

    def threshold(self, name: str, column: str | None, seconds: float) -> TrafficThreshold | None:
        """Return the threshold of a statistic, of the length nearest to that of the window; None if there is none."""
        found = [one for one in self.thresholds if one.name == name and one.column == column]
        return min(found, key=lambda one: abs(log(one.interval_seconds / seconds)), default=None)

    def levels_of(self, seconds: float) -> list[TrafficLevel]:
        """Return the levels that were found on windows of the length nearest to this one."""
        lengths = {one.interval_seconds for one in self.levels}
        nearest = min(lengths, key=lambda length: abs(log(length / seconds)), default=None)
        return [one for one in self.levels if one.interval_seconds == nearest]


class ThresholdOverride(NamedTuple):
    """A threshold that a person set for a statistic, whatever the rows and the traffic say."""

    name: str
    column: str | None
    value: float


class OwnReference(NamedTuple):
    """A reference that was drawn from a service's own rows of [start, end), and holds since it was `made_at`."""

    id: int
    made_at: datetime
    start: datetime
    end: datetime
    rows: int
    labelled_rows: int

    @property
    def text(self) -> str:
        """Return where it comes from and since when it holds, in words."""
        return (
            f"{self.rows:,} of the service's own rows from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} "
            f"UTC, since {self.made_at:%Y-%m-%d %H:%M} UTC"
        )


class Usual(NamedTuple):
    """What a statistic usually is in windows like one; `when` says which these are, empty for all."""

    value: float
    when: str

    def shown(self, form: str) -> str:
        """Return both as text, such as "0.123 at 08:00"; `form` is that of the number."""
        return f"{self.value:{form}} {self.when}".rstrip()


_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True, slots=True)
class WindowTraffic:
    """What is usual in one window; without `alarms`, nothing is known of it, and the limits of the rows alone hold."""

    alarms: TrafficAlarms | None = None
    start: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    seconds: float = 1.0
    overrides: tuple[ThresholdOverride, ...] = ()

    def limit(self, name: str, column: str | None, limit: float) -> float:
        """Return the limit of a statistic in this window, given the one that the rows alone allow.

        It is whichever allows more: traffic says how days differ, the rows how far so few of them stray by chance. What
        a person set comes first.
        """
        if (override := self.override(name, column)) is not None:
            return override
        found = self._threshold(name, column)
        if found is None:
            return limit
        by_traffic = found.thresholds[found.place(self._local_start)]
        return max(limit, by_traffic) if found.above else min(limit, by_traffic)

    def usual(self, name: str, column: str | None) -> Usual | None:
        """Return what a statistic usually is in such a window; None where that is not known, or not yet."""
        found = self._threshold(name, column)
        if found is None or found.is_gross:
            return None
        start = self._local_start
        day = f"on {_DAYS[start.weekday()]} " if found.cycle == "hour_of_week" else ""
        return Usual(found.usual[found.place(start)], "" if found.cycle == "none" else f"{day}at {start:%H}:00")

    def covers(self, name: str, column: str | None) -> bool:
        """Whether a limit makes sense: artifacts calibrated in time before a statistic existed know nothing of it."""
        return (
            self.alarms is None
            or self.override(name, column) is not None
            or self.alarms.threshold(name, column, self.seconds) is not None
        )

    def knows(self, name: str, column: str | None) -> bool:
        """Whether a threshold of the statistic is known in this traffic, or a person set one."""
        return self._threshold(name, column) is not None or self.override(name, column) is not None

    def is_learning(self, name: str, column: str | None) -> bool:
        """Whether what is usual of a statistic is still being learned, so that only a gross change of it alarms."""
        found = self._threshold(name, column)
        return found is not None and found.is_gross and self.override(name, column) is None

    def override(self, name: str, column: str | None) -> float | None:
        """Return the threshold that a person set, None if nobody did."""
        return next((one.value for one in self.overrides if one.name == name and one.column == column), None)

    def _threshold(self, name: str, column: str | None) -> TrafficThreshold | None:
        return None if self.alarms is None else self.alarms.threshold(name, column, self.seconds)

    @property
    def zone(self) -> tzinfo:
        """Return the time zone whose hours and weekdays traffic follows."""
        return UTC if self.alarms is None else ZoneInfo(self.alarms.time_zone)

    @property
    def _local_start(self) -> datetime:
        return self.start.astimezone(self.zone)


ANY_TRAFFIC = WindowTraffic()
"""A window of which nothing is known."""
