"""Owns the removal of snapshots that no window has: left by a post that landed after its caller gave it up."""

import logging
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from api.prediction_log.kept_windows import KeptWindows
from api.prediction_log.records import WindowRecord
from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.window import Window

logger = logging.getLogger(__name__)


class StraySnapshots:
    """Compares a project in Evidently UI with the windows of the log.

    A window that is still to be posted sees to its own; snapshots of windows that the log does not know are left alone,
    as they may be somebody else's.
    """

    def __init__(self, windows: KeptWindows, client: EvidentlyClient, project_name: str) -> None:
        self._windows = windows
        self._client = client
        self._project_id = project_id_for(project_name)

    def remove(self) -> Iterator[UUID]:
        """Remove the strays one by one and yield the id of each. Raises EvidentlyError, LogUnavailable."""
        # in this order: what is recorded now cannot be missing from a list made later, unless it is gone
        windows = [window for window in self._windows.with_snapshot() if window.project_id == str(self._project_id)]
        kept = {_key(window): window for window in windows}
        found = self._client.snapshots_by_window(self._project_id)
        starts = [start for key in found.keys() - kept.keys() if (start := _start_of(key)) is not None]
        thinned = [window for window in self._windows.starting_at(starts).values() if window.snapshot_id is None]
        known = kept | {_key(window): window for window in thinned}
        for key, ids in found.items():
            if key in known:
                yield from self._remove(ids, known[key])

    def _remove(self, ids: list[UUID], window: WindowRecord) -> Iterator[UUID]:
        if window.snapshot_id is not None and UUID(window.snapshot_id) not in ids:
            logger.warning("the snapshot of %s to %s is gone; another of it takes its place", window.start, window.end)
            self._windows.adopt(window, str(ids[0]))
            ids = ids[1:]
        for snapshot_id in _others(ids, window):
            logger.warning("a snapshot of %s to %s that no window has is removed", window.start, window.end)
            self._client.delete_snapshot(self._project_id, snapshot_id)
            yield snapshot_id


def _key(window: WindowRecord) -> str:
    return Window(window.start, window.end).key


def _others(ids: list[UUID], window: WindowRecord) -> list[UUID]:
    """Return the snapshots that are not the recorded one."""
    return [snapshot_id for snapshot_id in ids if str(snapshot_id) != window.snapshot_id]


def _start_of(key: str) -> datetime | None:
    try:
        return datetime.fromisoformat(key.partition("/")[0])
    except ValueError:
        return None
