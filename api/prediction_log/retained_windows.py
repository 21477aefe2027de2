"""What is left of posted windows: their snapshots, values and reports, and the record of what was removed."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, func, select, update

from api.prediction_log.database import Database, microseconds
from api.prediction_log.layouts import is_of_version
from api.prediction_log.records import SOLE_MODEL, WindowRecord, WindowStatus
from api.prediction_log.tables import changed_rows, labels, predictions, window_values, windows
from api.prediction_log.windows import is_row_of, window_of


class RetainedWindows:
    """The posted windows of one model: their rows stay for ever, their snapshots and reports do not."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._ours = windows.c.model_id == model_id

    def with_snapshot(self) -> list[WindowRecord]:
        """Return the windows whose snapshot is not removed, oldest first."""
        has_snapshot = windows.c.snapshot_id.is_not(None), windows.c.status == WindowStatus.POSTED
        query = select(windows).where(self._ours, *has_snapshot)
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def with_report(self, before: datetime) -> list[WindowRecord]:
        """Return the windows that ended before that time and whose report is not removed, oldest first."""
        old_report = windows.c.report_file.is_not(None), windows.c.end < microseconds(before)
        query = select(windows).where(self._ours, *old_report)
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def starting_at(self, starts: Collection[datetime]) -> dict[datetime, WindowRecord]:
        """Return the posted windows that start at these times, by their start."""
        keys = [microseconds(start) for start in starts]
        query = select(windows).where(self._ours, windows.c.start.in_(keys), windows.c.status == WindowStatus.POSTED)
        with self._database.reading() as connection:
            return {window.start: window for window in map(window_of, connection.execute(query))}

    def has_rows(self, window: WindowRecord) -> bool:
        """Whether the log still has every row that the window was measured from."""
        start, end = microseconds(window.start), microseconds(window.end)
        rows, arrived = predictions.c, labels.c.arrived_at
        of_version = is_of_version(window.model_version)
        ours, arrived_of_model = rows.model_id == window.model_id, labels.c.model_id == window.model_id
        inside = select(func.count()).where(ours, of_version, rows.logged_at >= start, rows.logged_at < end)
        labelled = select(func.count()).join_from(labels, predictions, labels.c.prediction_id == rows.id)
        labelled = labelled.where(arrived_of_model, of_version, arrived >= start, arrived < end)
        with self._database.reading() as connection:
            left = connection.execute(inside).scalar_one()
            left_labels = connection.execute(labelled).scalar_one()
        return left >= (window.rows or 0) and left_labels >= (window.labelled_rows or 0)

    def make_due_again(self, window: WindowRecord) -> bool:
        """Have a posted window measured and posted once more; False where its record has changed meanwhile."""
        again = {"status": WindowStatus.DUE, "snapshot_id": None, "faults": 0, "retry_at": None}
        with self._database.writing() as connection:
            recorded = (windows.c.status == WindowStatus.POSTED) & (windows.c.snapshot_id == window.snapshot_id)
            return connection.execute(update(windows).where(is_row_of(window), recorded).values(again)).rowcount > 0

    def mark_snapshot_lost(self, window: WindowRecord, reason: str) -> None:
        """Record that a window's snapshot is gone for good; what it measured stays."""
        with self._database.writing() as connection:
            lost = {"snapshot_id": None, "snapshot_removed_at": self._database.now(connection), "reason": reason}
            connection.execute(update(windows).where(is_row_of(window)).values(lost))

    def begin_snapshot_removal(self, window: WindowRecord) -> None:
        """Record that a window's snapshot is about to be removed: a later run finishes it, whatever the clock says."""
        with self._database.writing() as connection:
            begun = {"snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(is_row_of(window)).values(begun))

    def mark_snapshot_removed(self, window: WindowRecord) -> int:
        """Record that a window's snapshot is removed, and delete its values; return how many these were."""
        values = window_values.c.model_id == window.model_id, window_values.c.start == microseconds(window.start)
        rows = changed_rows.c.model_id == window.model_id, changed_rows.c.start == microseconds(window.start)
        with self._database.writing() as connection:
            connection.execute(delete(changed_rows).where(*rows))
            removed = {"snapshot_id": None, "snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(is_row_of(window)).values(removed))
            return connection.execute(delete(window_values).where(*values)).rowcount

    def mark_report_removed(self, window: WindowRecord) -> None:
        """Record that a window's report is removed."""
        with self._database.writing() as connection:
            removed = {"report_file": None, "report_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(is_row_of(window)).values(removed))

    def replace_snapshot(self, window: WindowRecord, snapshot_id: str) -> None:
        """Record another snapshot as the window's, because the recorded one no longer exists."""
        with self._database.writing() as connection:
            connection.execute(update(windows).where(is_row_of(window)).values(snapshot_id=snapshot_id))
