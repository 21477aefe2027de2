"""The choices about alarms: how rare false alarms are, and the smallest effect worth an alarm."""

from dataclasses import dataclass

from model.artifact.manifest import AlarmKind, DriftMethod
from model.errors import DataError

FAILED_DAY_IN_DAYS = 100.0
"""With one alert a month as the budget. It was chosen on the features of flights, whose days were divided at random 12
times, with hourly windows and alerts at two failed windows of three: a failed day in 30 gave 0.8 alerts a month and 1 %
failed windows, one in 100 no alert and 0.3 %. With all checks, `scripts.bench alarms` sees neither failed windows nor
alerts in two of three divisions; in the third, which calibrates on the drier days, 17 % of the windows fail, nearly all
by the mean of the precipitation, with 5 alerts a month: what a history does not hold, no budget allows for."""
MAX_FALSE_ALERTS_A_MONTH = 50.0


@dataclass(frozen=True)
class AlarmPolicy:
    """Choices made at training. Floors are in the units of their statistic.

    `false_alarm_rate` is the chance that any statistic of the family alarms in one window in control, in (0, 0.5), for
    windows whose rows are draws from one bag. `false_alerts_a_month` is for real traffic: about so many alerts are sent
    at most in a month in which nothing happens, whatever the number of checks and columns. `kind` says what alarms are
    calibrated on; None is time where the rows have times, else rows. `time_zone` is that of the hours and weekdays that
    a service learns.
    Raises DataError for a rate or a floor that makes no sense.
    """

    false_alarm_rate: float = 0.001
    wasserstein_floor: float = 0.1
    jensenshannon_floor: float = 0.1
    concept_gap_floor: float = 0.05
    attribution_floor: float = 0.1
    false_alerts_a_month: float = 1.0
    kind: AlarmKind | None = None
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the choices."""
        if not 0 < self.false_alarm_rate < 0.5:
            raise DataError(f"the false alarm rate must lie between 0 and 0.5; it is {self.false_alarm_rate:g}")
        if not 0 < self.false_alerts_a_month <= MAX_FALSE_ALERTS_A_MONTH:
            raise DataError(
                f"false_alerts_a_month is {self.false_alerts_a_month:g}; give more than 0 and at most "
                f"{MAX_FALSE_ALERTS_A_MONTH:g}"
            )
        for name in ("wasserstein_floor", "jensenshannon_floor", "concept_gap_floor", "attribution_floor"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DataError(f"{name} is {getattr(self, name):g}; a floor is 0 or more")

    @property
    def false_alarm_days(self) -> float:
        """Return the days of which one may have a window that fails although nothing has happened."""
        return FAILED_DAY_IN_DAYS / self.false_alerts_a_month

    @property
    def drift_floors(self) -> dict[DriftMethod, float]:
        """Return the floors of the drift methods."""
        return {"wasserstein": self.wasserstein_floor, "jensenshannon": self.jensenshannon_floor}
