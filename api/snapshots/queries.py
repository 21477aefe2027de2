"""Queries for people: the windows, their values, their reports, and closing a window by hand."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from api.alerts.next_steps import NextSteps
from api.errors import NotFound, NothingToSnapshot
from api.prediction_log.changed_rows import CarryingRow
from api.prediction_log.records import HealthRun, WindowRecord, WindowStatus
from api.prediction_log.windows import MinimalWindow, WindowRun, WindowStore
from api.snapshots.health import Health, SnapshotLinks, health_of
from api.snapshots.learning import LearningState, ServiceAlarms
from api.snapshots.reports import read_report
from model.artifact.manifest import Manifest

Points = list[tuple[datetime, datetime, float]]


class SnapshotQueries:
    """Reads the windows for people; ``wake`` is called when a window was closed by hand."""

    def __init__(
        self,
        store: WindowStore,
        *,
        interval: timedelta,
        enough: MinimalWindow,
        links: SnapshotLinks,
        alarms: ServiceAlarms,
        next_steps: NextSteps,
        wake: Callable[[], None],
        read_health: Callable[[], HealthRun | None],
    ) -> None:
        self._store = store
        self._interval = interval
        self._enough = enough
        self._links = links
        self._alarms = alarms
        self._next_steps = next_steps
        self._wake = wake
        self._read_health = read_health

    def newest(self, limit: int, status: WindowStatus | None = None) -> list[WindowRecord]:
        """Return the newest windows, or those of a status, newest first."""
        return self._store.newest(limit, status)

    def newest_runs(self, limit: int) -> list[WindowRun]:
        """Return the newest windows, newest first, with the skipped ones in a row as one."""
        return self._store.newest_runs(limit)

    def alarms(self, manifest: Manifest) -> LearningState:
        """Return what the alarms of a model rest on."""
        return self._alarms.state(manifest)

    def health(self) -> Health:
        """Return whether all is well, since when, and what failed."""
        return health_of(self._read_health())

    def next_step(self, failed: Mapping[str, Any], window: WindowRecord) -> str:
        """Return what to do after a failed check of a window."""
        return self._next_steps.after(failed, window.start)

    def latest_report(self) -> WindowRecord | None:
        """Return the newest window that has an HTML report."""
        return self._store.latest_report()

    def close_now(self, *, force: bool = False) -> WindowRecord:
        """Close the open window, so that its snapshot is made at once.

        Raises NothingToSnapshot where nothing was logged in it, or, unless it is ``force``d, too little to be measured:
        a piece that is cut off then would never be.
        """
        window = self._store.close_now(self._interval, None if force else self._enough)
        if window is None:
            raise NothingToSnapshot("nothing was logged since the last window; send predictions first")
        self._wake()
        return window

    def series(
        self,
        name: str | None,
        column: str | None,
        start: datetime | None,
        end: datetime | None,
        *,
        limit: int,
        skip: int = 0,
    ) -> dict[tuple[str, str], Points]:
        """Return values over time by (name, column), oldest first; a naive time is UTC.

        Of more than ``limit`` values these are the newest, after leaving out the newest ``skip``.
        """
        found: dict[tuple[str, str], Points] = {}
        span = (_aware(start), _aware(end))
        for window_start, window_end, value in self._store.series(name, column, *span, limit=limit, skip=skip):
            found.setdefault((value.name, value.column), []).append((window_start, window_end, value.value))
        return found

    def rows(self, start: datetime, check: str | None, column: str | None, limit: int) -> list[CarryingRow]:
        """Return the rows that the failed checks of a window found. Raises NotFound where no window starts then."""
        start = _aware(start) or start
        rows = self._store.rows_of_checks(start, check, column, limit)
        if rows is None:
            raise NotFound(f"no window starts at {start.isoformat()}; GET /snapshots lists the windows")
        return rows

    def project_url(self) -> str:
        """Return the URL of the model's project in Evidently UI."""
        return self._links.project()

    def evidently_url(self, window: WindowRecord) -> str | None:
        """Return the URL of a window's snapshot in Evidently UI."""
        return self._links.evidently(window)


def find_report(reports_dir: Path, day: str, name: str) -> bytes:
    """Return a report as one page that needs no other file. Raises NotFound."""
    path = reports_dir / day / name
    if path.parent.parent != reports_dir or not path.is_file():
        raise NotFound(f"there is no report {day}/{name}; it may have expired")
    try:
        return read_report(path)
    except FileNotFoundError as error:
        raise NotFound(f"a part of the report {day}/{name} is gone: {Path(error.filename).name}") from None


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
