"""Owns what measuring a stretch of the log gives, as plain values."""

from dataclasses import dataclass

from api.prediction_log.reader import WindowRows
from evidently_workspace.results import WindowSnapshot


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in a stretch; ``snapshot`` is None, with the reason, where there was not enough data."""

    logged: WindowRows
    labelled: WindowRows
    snapshot: WindowSnapshot | None
    reason: str | None
