"""Keeps the UI's database small: deletes orphans, strips old figures, returns free space to the disk."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID

from evidently.legacy.renderers.html_widgets import text_widget
from evidently.ui.service.storage.sql.models import BlobSQLModel, PointSQLModel, SnapshotSQLModel
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from evidently_workspace.ui.storage import blob_id

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Widget = dict[str, Any]

RUN_SECONDS = 300.0
PAUSE_SECONDS = 0.05
"""Pause after each snapshot, so that the pages have most of the processor even during a long backlog."""
PAGES_AT_ONCE = 256
SPARE_PAGES = 1_000
"""Pages of an SQLite file that may lie free, for the next snapshots."""
WINDOW_KEY, FIGURES_KEY, REMOVED = "window", "figures", "removed"
"""Keys of a snapshot's metadata: our snapshots have the first; the second says that the figures are removed."""
FIGURE = "big_graph"
NOTICE = (
    "**The figures of this snapshot have been removed**, because it is old and they are most of its size. Its values, "
    "tables and checks are all below, and the dashboard's charts keep it."
)


def without_figures(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return the snapshot's JSON without figures, and with a notice if it had any."""
    widgets = [stripped for widget in snapshot["widgets"] if (stripped := _strip(widget)) is not None]
    if widgets == snapshot["widgets"]:
        return snapshot
    return {**snapshot, "widgets": [text_widget(text=NOTICE).dict(), *widgets]}


def _strip(widget: Widget) -> Widget | None:
    """Return the widget without figures; None where it is a figure itself."""
    if widget["type"] == FIGURE:
        return None
    inner = [stripped for part in widget.get("widgets") or [] if (stripped := _strip(part)) is not None]
    stripped = {**widget, "additionalGraphs": [], "widgets": inner}
    params = widget.get("params")
    if widget.get("additionalGraphs") and isinstance(params, dict) and isinstance(params.get("data"), list):
        # A row that unfolds would ask for its figures.
        stripped["params"] = {**params, "data": [_without_details(row) for row in params["data"]]}
    return stripped


def _without_details(row: Any) -> Any:
    return {name: value for name, value in row.items() if name != "details"} if isinstance(row, dict) else row


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """What one run did."""

    orphans: int = 0
    stripped: int = 0
    pages_freed: int = 0


class Maintenance:
    """The maintenance of one database: strips snapshots older than `figures_for` of their figures (None: never)."""

    def __init__(
        self,
        engine: Engine,
        figures_for: timedelta | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._engine = engine
        self._figures_for = figures_for
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._stopped = Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run every few minutes, in a thread, while the block lasts."""
        thread = Thread(target=self._run_until_stopped, name="maintenance", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join(timeout=5)
            self._engine.dispose()

    def _run_until_stopped(self) -> None:
        while not self._stopped.is_set():
            try:
                done = self.run()
            except Exception:  # the boundary of a job: the next run tries again
                logger.exception("the maintenance of the database failed; it will run again")
            else:
                if done != MaintenanceRun():
                    logger.info("maintenance: %s", done)
            self._stopped.wait(RUN_SECONDS)

    def run(self) -> MaintenanceRun:
        """Run once, to the end or until stopped."""
        return MaintenanceRun(self._delete_orphans(), self._strip_old_snapshots(), self._free_pages())

    def _delete_orphans(self) -> int:
        """Delete blobs and points without a snapshot, which Evidently's own storage leaves behind."""
        blobs, points = BlobSQLModel, PointSQLModel
        with Session(self._engine) as session:
            # Blobs are read before snapshots: both are written in one transaction, so each blob found has its snapshot.
            found = session.scalars(select(blobs.id).where(blobs.id.contains("/snapshots/"))).all()
            rows = session.execute(select(SnapshotSQLModel.project_id, SnapshotSQLModel.id))
            known = {blob_id(project, snapshot) for project, snapshot in rows}
            owned = points.snapshot_id.in_(select(SnapshotSQLModel.id))
            lost = session.scalars(select(points.snapshot_id).where(~owned).distinct()).all()
        orphans = [name for name in found if name not in known]
        for name in self._paced(orphans):
            with Session(self._engine) as session, session.begin():
                session.execute(delete(blobs).where(blobs.id == name))
        for snapshot in self._paced(lost):
            with Session(self._engine) as session, session.begin():
                session.execute(delete(points).where(points.snapshot_id == snapshot))
        return len(orphans) + len(lost)

    def _strip_old_snapshots(self) -> int:
        """Strip our snapshots of their figures once they are old; return how many."""
        if self._figures_for is None:
            return 0
        row = SnapshotSQLModel
        # Evidently's timestamps are naive UTC.
        before = (self._clock() - self._figures_for).astimezone(UTC).replace(tzinfo=None)
        ours = row.metadata_json[WINDOW_KEY].as_string().is_not(None)
        whole = row.metadata_json[FIGURES_KEY].as_string().is_(None)
        with Session(self._engine) as session:
            old = select(row.project_id, row.id).where(row.timestamp < before, ours, whole).order_by(row.timestamp)
            found = session.execute(old).all()
        stripped = 0
        for project, snapshot in self._paced(found):
            self._remove_figures(project, snapshot)
            stripped += 1
        return stripped

    def _remove_figures(self, project_id: UUID, snapshot_id: UUID) -> None:
        """Replace the blob and note that in the metadata, in one transaction, unless the snapshot has been deleted."""
        row, blob = SnapshotSQLModel, BlobSQLModel
        name = blob_id(project_id, snapshot_id)
        with Session(self._engine) as session, session.begin():
            data = session.scalar(select(blob.data).where(blob.id == name))
            metadata = session.scalar(select(row.metadata_json).where(row.id == snapshot_id))
            if metadata is None:
                return
            metadata = {**metadata, FIGURES_KEY: REMOVED}
            if data is not None:
                stripped = without_figures(json.loads(data)) | {"metadata": metadata}
                text = json.dumps(stripped, separators=(",", ":")).encode()
                session.execute(update(blob).where(blob.id == name).values(data=text, size=len(text)))
            session.execute(update(row).where(row.id == snapshot_id).values(metadata_json=metadata))

    def _free_pages(self) -> int:
        """Return the free pages of an SQLite file to the disk; PostgreSQL reuses them for new snapshots."""
        if self._engine.dialect.name != "sqlite":
            return 0
        freed = 0
        with closing(self._engine.raw_connection()) as connection:

            def pragma(text: str) -> list[tuple[int, ...]]:
                # Fetched to the end by the driver: SQLite frees one page a step, and SQLAlchemy would see no rows.
                return list(connection.cursor().execute(f"PRAGMA {text}").fetchall())

            while (before := pragma("freelist_count")[0][0]) > SPARE_PAGES and not self._stopped.is_set():
                pragma(f"incremental_vacuum({PAGES_AT_ONCE})")
                if (done := before - pragma("freelist_count")[0][0]) <= 0:
                    break  # the file cannot shrink: see `database._let_shrink`
                freed += done
                self._stopped.wait(self._pause_seconds)
            if freed:
                pragma("wal_checkpoint(TRUNCATE)")
        return freed

    def _paced(self, items: Sequence[Item]) -> Iterator[Item]:
        for item in items:
            if self._stopped.is_set():
                return
            yield item
            self._stopped.wait(self._pause_seconds)
