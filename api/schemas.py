"""Request and response types that do not depend on what the model predicts."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.prediction_log.records import WindowStatus
from evidently_workspace.checks import CheckName
from model.artifact.manifest import AlarmKind, Task


class FeedbackReceipt(BaseModel):
    """How many labels were stored, and which were not."""

    accepted: int = Field(description="Labels whose prediction is known; repeating one is harmless.")
    unknown: list[str] = Field(description="Ids that no logged prediction has; nothing is stored for them.")


class FailedCheck(BaseModel):
    """One check that a window did not pass."""

    check: CheckName
    column: str | None
    measure: str | None = Field(None, description="Which of several measures failed, such as missing or new_category.")
    value: float
    threshold: float
    cause: str | None = Field(
        None,
        description="How much of a changed performance comes from changed inputs, by feature, and how much from a "
        "changed relation between inputs and labels.",
    )
    next_step: str | None = Field(None, description="What to do, in one sentence, with the command filled in.")


class MutedCheck(FailedCheck):
    """One check that a window did not pass, and that does not count because somebody muted it."""

    until: str = Field(description="When the mute ends.")
    reason: str = Field(description="Why it is muted, and who did it.")


class RecordedWindow(BaseModel):
    """What the log records of a window."""

    model_config = ConfigDict(from_attributes=True)

    start: datetime
    end: datetime
    rows: int | None = Field(description="Predictions made in the window; null until it has been read.")
    labelled_rows: int | None = Field(description="Labels that arrived in the window, whenever predicted.")
    status: WindowStatus
    reason: str | None
    failed_checks: list[FailedCheck]
    muted_checks: list[MutedCheck] = Field([], description="Failed too, but muted: they do not count and do not alert.")
    not_computed: list[str] = Field(description="Parts of the snapshot that could not be computed, and why.")
    model_version: str | None
    alarms_version: int | None = Field(
        None, description="Which alarms judged it, of those that the log has made; null for those of the artifact."
    )
    tries: int = Field(description="How often it was tried; more than once means that something went wrong.")
    retry_at: datetime | None = Field(description="When a failed window is tried again; null where it is not.")
    report_removed_at: datetime | None = Field(description="When the report was removed because of its age.")
    snapshot_removed_at: datetime | None = Field(
        description="When the snapshot, and with it the window's values, were removed because of its age."
    )


class SnapshotWindow(RecordedWindow):
    """One window of the log, [start, end), and what became of it."""

    report_url: str | None
    evidently_url: str | None


class ChangedRow(BaseModel):
    """A prediction that carries what a failed check found, as it was logged."""

    model_config = ConfigDict(from_attributes=True)

    check: CheckName
    column: str | None
    measure: str | None
    score: float = Field(
        description="How much it carries. Drift: the share of the rows with such a value that the reference does not "
        "explain. Data quality: 1. Wrong classes: the probability given to them. Wrong numbers: times the usual error."
    )
    prediction_id: str
    logged_at: datetime
    model_version: str
    features: dict[str, str | float | bool | None] = Field(description="With the columns that rode along.")
    prediction: str | int | float | bool
    probabilities: dict[str, float]
    label: str | int | float | bool | None


class ChangedRows(BaseModel):
    """The rows that a window's failed checks found, by check and the foremost first."""

    rows: list[ChangedRow]


class ReferenceState(BaseModel):
    """A reference that was drawn from the service's own rows of [start, end), and holds since ``made_at``."""

    made_at: datetime
    start: datetime
    end: datetime
    rows: int
    labelled_rows: int


class AlarmState(BaseModel):
    """What the alarms of the served model rest on."""

    kind: AlarmKind = Field(description="time, learn or rows, as chosen at training.")
    version: int | None = Field(description="Of the alarms that the log has made; null for those of the artifact.")
    learning: int = Field(description="Statistics that are still being learned: only gross changes alarm.")
    learned_days: float = Field(description="Days of measured windows so far, while anything is being learned.")
    learning_days: float = Field(description="Days that are needed.")
    reference: ReferenceState | None = Field(
        None, description="What windows are measured against; null for the reference of the artifact."
    )


class SnapshotWindows(BaseModel):
    """Windows, newest first."""

    windows: list[SnapshotWindow]
    alarms: AlarmState


class MetricPoint(BaseModel):
    """One value of one window."""

    start: datetime
    end: datetime
    value: float


class MetricSeries(BaseModel):
    """One number over time, oldest window first; ``column`` is null where it belongs to none."""

    name: str
    column: str | None
    points: list[MetricPoint]


class MetricSeriesList(BaseModel):
    """Numbers over time."""

    series: list[MetricSeries]


class LastWindow(BaseModel):
    """The newest window of a model."""

    model_config = ConfigDict(from_attributes=True)

    start: datetime
    end: datetime
    status: WindowStatus


class ModelState(BaseModel):
    """One model of the installation, and whether it serves."""

    name: str = Field(description="Stands in the addresses of its calls, such as /models/NAME/predict.")
    version: str | None = Field(description="The version that serves; null where the model is not valid.")
    task: Task | None
    default: bool = Field(description="Whether the calls that name no model mean this one.")
    serving: bool
    reason: str | None = Field(description="Why it does not serve; null where it does.")
    last_window: LastWindow | None
    failed_checks: list[CheckName] = Field(description="Of the newest window that has a snapshot.")


class Models(BaseModel):
    """All models, by name."""

    models: list[ModelState]


class ModelReload(BaseModel):
    """Which version of the model serves, and which one served before."""

    status: Literal["reloaded", "already"] = Field(description="already: the folder holds the version that serves.")
    model_version: str = Field(description="Serves here now; other processes follow at their next heartbeat.")
    previous_version: str


class Health(BaseModel):
    """A good state; a bad one is a problem with status 503."""

    status: Literal["alive", "ready"]
