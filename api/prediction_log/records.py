"""What goes into the log and comes out of it, as plain values."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

SOLE_MODEL = 1
"""The id of the only model of a log, or of the first."""
_NUMBERED = re.compile(r"\d+:", re.ASCII)


def prediction_key(model_id: int, prediction_id: str) -> str:
    """Return the key under which the log holds a prediction: two models may use the same id."""
    if model_id == SOLE_MODEL and not _NUMBERED.match(prediction_id):
        return prediction_id
    return f"{model_id}:{prediction_id}"


def public_id(key: str) -> str:
    """Return the id by which callers know the prediction with this key."""
    return key.partition(":")[2] if _NUMBERED.match(key) else key


class PredictionRecord(NamedTuple):
    """One prediction to log; ``features`` and ``probabilities`` are JSON objects by name, ``{}`` without any.

    ``prediction_id`` is its key in the log.
    """

    prediction_id: str
    sample_key: int
    model_version: str
    features: str
    prediction: str
    probabilities: str


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """The label of a prediction, as a client sent it: a class, or a number as text."""

    prediction_id: str
    label: str


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """The outcome of a request's labels: how many are stored, and the ids that no prediction has."""

    accepted: int
    unknown: tuple[str, ...]


class WindowStatus(StrEnum):
    """The state of a window."""

    DUE = "due"
    RUNNING = "running"
    POSTED = "posted"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """One window of the log, [start, end) in aware UTC, and the outcome of its snapshot."""

    start: datetime
    end: datetime
    status: WindowStatus
    reason: str | None
    rows: int | None
    labelled_rows: int | None
    failed_checks: list[dict[str, Any]]
    not_computed: list[str]
    model_version: str | None
    project_id: str | None
    snapshot_id: str | None
    report_file: str | None
    tries: int
    retry_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    faults: int = 0
    snapshot_bytes: int | None = None
    snapshot_removed_at: datetime | None = None
    report_removed_at: datetime | None = None
    alarms_version: int | None = None


@dataclass(frozen=True, slots=True)
class WindowValue:
    """One number that a window's snapshot measured; ``column`` is empty where it belongs to none."""

    name: str
    column: str
    value: float


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """One prediction as it was logged; with its label, if labels were read, and the version that predicted it."""

    features: dict[str, Any]
    prediction: str
    probabilities: dict[str, float]
    label: str | None
    model_version: str = ""
