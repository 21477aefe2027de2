"""Owns where people find a window: its HTML report at the API, its snapshot in Evidently UI."""

from api.prediction_log.records import WindowRecord
from evidently_workspace.client import project_id_for


class SnapshotLinks:
    """Links for people, from the addresses at which they reach the API and Evidently UI."""

    def __init__(self, public_url: str, evidently_url: str, project_name: str) -> None:
        self.home = public_url.rstrip("/")
        self._evidently_url = evidently_url.rstrip("/")
        self._project_name = project_name

    def report(self, window: WindowRecord) -> str | None:
        """Return where a window's HTML report is; None where it has none."""
        return None if window.report_file is None else f"{self.home}/reports/{window.report_file}"

    def project(self) -> str:
        """Return where people see the model's health in Evidently UI."""
        return f"{self._evidently_url}/projects/{project_id_for(self._project_name)}"

    def evidently(self, window: WindowRecord) -> str | None:
        """Return where a window's snapshot is in Evidently UI; None where it has none."""
        if window.snapshot_id is None:
            return None
        return f"{self._evidently_url}/projects/{window.project_id}/reports/{window.snapshot_id}"
