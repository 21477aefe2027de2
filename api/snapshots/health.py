"""Whether a model is well, in words and with links: the first line of its dashboard and of the start page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.prediction_log.database import Database
from api.prediction_log.reader import read_health, read_largest
from api.prediction_log.records import SOLE_MODEL, HealthRun, WindowRecord
from evidently_workspace.checks import CHECKS
from evidently_workspace.client import project_id_for
from evidently_workspace.dashboard import MAX_LINES, State

WINDOWS_BACK = 50
"""Of so many windows the columns that moved most are shown: the newest alone would change the lines all the time."""
MAX_NAMED = 3
NOTHING_YET = "No window has been measured yet."
TITLES = {check.name: check.title.lower() for check in CHECKS}
MOVED = {
    "drift": ("data_drift_ratio",),
    "missing": ("missing_share",),
    "outside": ("out_of_range_share", "new_category_share"),
    "attributions": ("attribution",),
}
"""The values by which the columns of each panel are chosen."""


class SnapshotLinks:
    """Links for people, from the addresses at which they reach the API and Evidently UI."""

    def __init__(self, public_url: str, evidently_url: str, project_name: str) -> None:
        self.home = public_url.rstrip("/")
        self._evidently_url = evidently_url.rstrip("/")
        self._project_name = project_name

    def report(self, window: WindowRecord) -> str | None:
        """Return the URL of a window's HTML report; None if it has none."""
        return None if window.report_file is None else f"{self.home}/reports/{window.report_file}"

    def project(self) -> str:
        """Return the URL of the model's project in Evidently UI."""
        return f"{self._evidently_url}/projects/{project_id_for(self._project_name)}"

    def evidently(self, window: WindowRecord) -> str | None:
        """Return the URL of a window's snapshot in Evidently UI; None if it has none."""
        if window.snapshot_id is None:
            return None
        return f"{self._evidently_url}/projects/{window.project_id}/reports/{window.snapshot_id}"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a model is well, and the sentence that says it; ``well`` is None before its first snapshot."""

    well: bool | None
    sentence: str


def health_of(run: HealthRun | None) -> Health:
    """Say whether all is well, since when, and what failed."""
    if run is None:
        return Health(None, NOTHING_YET)
    since, many = in_words(run.since), f"{run.count:,} windows" if run.count != 1 else "1 window"
    if not run.newest.failed_checks:
        return Health(True, f"All is well since {since}: no check failed in {many}.")
    return Health(
        False, f"Checks fail since {since}, in {many}. Newest: {failures_in_words(run.newest.failed_checks)}."
    )


def failures_in_words(failed: Sequence[Mapping[str, Any]]) -> str:
    """Return failed checks as people would list them: "data drift (temp, wind and 3 more), worse performance"."""
    columns: dict[str, dict[str, None]] = {}
    for check in failed:
        of_check = columns.setdefault(check["check"], {})
        if check["column"] is not None and check["check"] in {"data_drift", "data_quality"}:
            of_check[check["column"]] = None
    return ", ".join(f"{TITLES.get(name, name)}{_named(list(found))}" for name, found in columns.items())


def _named(columns: Sequence[str]) -> str:
    if not columns:
        return ""
    more = len(columns) - MAX_NAMED
    return f" ({', '.join(columns[:MAX_NAMED])}{f' and {more} more' if more > 0 else ''})"


def in_words(time: datetime) -> str:
    """Return a time as people write it, in UTC."""
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def dashboard_state(database: Database, links: SnapshotLinks, model_id: int = SOLE_MODEL) -> State:
    """Return what a model's dashboard shows now. Raises LogUnavailable."""
    run = read_health(database, model_id)
    columns = {
        panel: tuple(read_largest(database, names, windows_back=WINDOWS_BACK, limit=MAX_LINES, model_id=model_id))
        for panel, names in MOVED.items()
    }
    return State(f"{health_of(run).sentence}{_report(links, None if run is None else run.newest)}", columns)


def _report(links: SnapshotLinks, newest: WindowRecord | None) -> str:
    if newest is None or (url := links.report(newest)) is None:
        return ""
    return f" Newest report ({newest.start:%H:%M} to {newest.end:%H:%M} UTC, {newest.rows or 0:,} rows): {url}"
