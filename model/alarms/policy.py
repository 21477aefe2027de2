"""The choices about alarms: how rare false alarms are, and the smallest effect worth an alarm."""

from dataclasses import dataclass

from model.artifact.manifest import DriftMethod
from model.errors import DataError


@dataclass(frozen=True)
class AlarmPolicy:
    """Choices made at training. Floors are in the units of their statistic.

    `false_alarm_rate` is the chance that any statistic of the family alarms in one window in control, in (0, 0.5), for
    windows whose rows are draws from one bag. `false_alarm_days` is for real traffic, where the rows have times: in so
    many days in which nothing happens, one has a window that fails.
    Raises DataError for a rate or a floor that makes no sense.
    """

    false_alarm_rate: float = 0.001
    wasserstein_floor: float = 0.1
    jensenshannon_floor: float = 0.1
    concept_gap_floor: float = 0.05
    attribution_floor: float = 0.1
    false_alarm_days: float = 100.0

    def __post_init__(self) -> None:
        """Check the choices."""
        if not 0 < self.false_alarm_rate < 0.5:
            raise DataError(f"the false alarm rate must lie between 0 and 0.5; it is {self.false_alarm_rate:g}")
        if not 1 <= self.false_alarm_days < float("inf"):
            raise DataError(f"false_alarm_days is {self.false_alarm_days:g}; give 1 day or more")
        for name in ("wasserstein_floor", "jensenshannon_floor", "concept_gap_floor", "attribution_floor"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DataError(f"{name} is {getattr(self, name):g}; a floor is 0 or more")

    @property
    def drift_floors(self) -> dict[DriftMethod, float]:
        """Return the floors of the drift methods."""
        return {"wasserstein": self.wasserstein_floor, "jensenshannon": self.jensenshannon_floor}
