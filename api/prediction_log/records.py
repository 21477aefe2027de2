"""What goes into the log and comes out of it, as plain values."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

SOLE_MODEL = 1
"""The id of the only model of an installation, or of its default model."""
OWN_ID_PATTERN = r"^[A-Za-z0-9._~:@/+=-]{1,128}$"
"""What an id that callers give must be; those that the API makes are so too."""
_NUMBERED = re.compile("[0-9]+:")


def prediction_key(model_id: int, prediction_id: str) -> str:
    """Return the key under which the log stores a prediction: two models may use the same id."""
    if model_id == SOLE_MODEL and (":" not in prediction_id or _NUMBERED.match(prediction_id) is None):
        return prediction_id
    return f"{model_id}:{prediction_id}"


def public_id(key: str) -> str:
    """Return the id that callers know a stored prediction by."""
    numbered = _NUMBERED.match(key)
    return key if numbered is None else key[numbered.end() :]


class PredictionRecord(NamedTuple):
    """One prediction to log; ``features`` and ``probabilities`` are JSON objects by name, ``{}`` without any.

    With the id of a ``layout`` they are arrays in its order, and ``model_version`` is empty. ``prediction_id`` is the
    key that `prediction_key` returns.
    """

    prediction_id: str
    sample_key: int
    model_version: str
    features: str
    prediction: str
    probabilities: str
    model_id: int = SOLE_MODEL
    layout: int | None = None


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """The label of a prediction, by its key: a class, or a number as text."""

    prediction_id: str
    label: str


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """The outcome of a request's labels: how many are stored, and the keys that no prediction has."""

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
    """One window of a model, [start, end) in aware UTC, and the outcome of its snapshot."""

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
    muted_checks: list[dict[str, Any]] | None = None
    model_id: int = SOLE_MODEL


@dataclass(frozen=True, slots=True)
class HealthRun:
    """The newest posted window, and for how long it has been so: all windows since then failed, or none did.

    ``count`` is the number of these windows; ``since`` is when the first of them starts.
    """

    newest: WindowRecord
    since: datetime
    count: int


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
    prediction_id: str = ""
