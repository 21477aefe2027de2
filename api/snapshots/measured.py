"""Owns what measuring a stretch of the log gives, as plain values."""

from dataclasses import dataclass

from api.prediction_log.reader import WindowRows
from evidently_workspace.results import WindowSnapshot
from model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in a stretch; ``snapshot`` is None, with the reason, where there was not enough data.

    ``manifest`` is that of the version whose rows were measured.
    """

    logged: WindowRows
    labelled: WindowRows
    snapshot: WindowSnapshot | None
    reason: str | None
    manifest: Manifest
