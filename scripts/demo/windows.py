"""The windows as `GET /snapshots` returns them."""

from datetime import datetime
from typing import Literal

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict

_LIMIT = 200
_TIMEOUT_SECONDS = 10.0


class FailedCheck(BaseModel):
    """One check that a window did not pass."""

    model_config = ConfigDict(frozen=True)

    check: str
    column: str | None
    value: float
    threshold: float

    def __str__(self) -> str:
        """Return the check, its column, its value and its limit."""
        where = f" of {self.column}" if self.column else ""
        return f"{self.check}{where} ({self.value:.2f}, limit {self.threshold:.2f})"


class SnapshotWindow(BaseModel):
    """One window, [start, end), as `GET /snapshots` gives it."""

    model_config = ConfigDict(frozen=True)

    start: AwareDatetime
    end: AwareDatetime
    rows: int | None
    labelled_rows: int | None
    status: Literal["due", "running", "posted", "skipped", "failed"]
    reason: str | None
    failed_checks: tuple[FailedCheck, ...]
    report_url: str | None
    evidently_url: str | None

    @property
    def settled(self) -> bool:
        """Return whether its status is final."""
        return self.status in {"posted", "skipped"}

    @property
    def checks(self) -> tuple[str, ...]:
        """Return the names of the failed checks, each once, in order."""
        return tuple(sorted({check.check for check in self.failed_checks}))

    @property
    def drifted_columns(self) -> tuple[str, ...]:
        """Return the features whose distribution raised an alarm."""
        return tuple(check.column or "" for check in self.failed_checks if check.check == "data_drift")


class _Answer(BaseModel):
    windows: tuple[SnapshotWindow, ...]


async def read_windows(client: httpx.AsyncClient, since: datetime) -> dict[datetime, SnapshotWindow]:
    """Return the windows that start at or after `since`, oldest first, by their start; empty if nothing answers."""
    try:
        response = await client.get("/snapshots", params={"limit": _LIMIT}, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
    except httpx.HTTPError:
        # The API may be busy for a moment. The stack notices if it has ended.
        return {}
    windows = _Answer.model_validate_json(response.content).windows
    return {window.start: window for window in sorted(windows, key=lambda one: one.start) if window.start >= since}
