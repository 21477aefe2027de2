"""The table of windows: which is next, what became of each, and what is still kept of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, insert, or_, select, update

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.lease import Lease
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.retry import DEFERRED_WAIT, FAULTS_UNTIL_DEFERRED, FailureCause, wait_after
from api.prediction_log.tables import window_values, windows
from api.prediction_log.timeline import close_windows, events_since, last_boundary, next_boundary, open_since, reopen

CUT_OFF_REASON = "the process ended while it took this window"
IMPLAUSIBLE_WAIT = 2 * DEFERRED_WAIT // timedelta(microseconds=1)
"""No window waits this long: such a retry was set while a clock stood wrong, and would hold all up till then."""
MOMENTS = ("start", "end", "retry_at", "finished_at", "snapshot_removed_at", "report_removed_at")


class WindowStore:
    """The windows of one prediction log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close_elapsed(self, interval: timedelta) -> int:
        """Close every window that has ended by now, and return how many.

        One transaction: once it is committed no row can be logged into the closed windows any more.
        """
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            reopen(connection, now, step)
            start = open_since(connection, step)
            if start is None or next_boundary(start, step) > now:
                return 0
            return close_windows(connection, start, last_boundary(now, step), step)

    def close_now(self, interval: timedelta) -> WindowRecord | None:
        """Close the window that is open, whatever its length; None where nothing was logged since the last window."""
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            start = open_since(connection, step)
            if start is None or events_since(connection, start) is None:
                return None
            close_windows(connection, start, now, step)
            row = connection.execute(select(windows).order_by(windows.c.start.desc()).limit(1)).one()
            return window_of(row)

    def claim(self, lease: Lease | None = None) -> WindowRecord | None:
        """Mark the oldest window that is to be taken as running and return it.

        None where none is, or it waits for its retry, or the lease, if one is given, is not held any more: that is
        asked in the same transaction, so that of two who believe that they hold it only one claims.
        """
        with self._database.writing() as connection:
            if lease is not None and not lease.holds(connection):
                return None
            now = self._database.now(connection)
            while (row := _oldest(connection, now)) is not None:
                if not _ready(row.retry_at, now):
                    return None
                cut_off = row.status == WindowStatus.RUNNING
                tries, faults = row.tries + 1, row.faults + cut_off
                if cut_off and faults >= FAULTS_UNTIL_DEFERRED:
                    _set_failed(connection, row.start, CUT_OFF_REASON, faults, _retry_at(now, row.tries, faults))
                    continue
                changed = {"status": WindowStatus.RUNNING, "tries": tries, "faults": faults, "retry_at": None}
                connection.execute(update(windows).where(windows.c.start == row.start).values(changed))
                return window_of(row, **changed)
            return None

    def waiting(self) -> bool:
        """Whether a window is to be taken now."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            row = _oldest(connection, now)
            return row is not None and _ready(row.retry_at, now)

    def finish(self, window: WindowRecord, values: Iterable[WindowValue], changed: Mapping[str, Any]) -> bool:
        """Record what became of a claimed window, and what its snapshot measured.

        False, with nothing recorded, where another has claimed the window since.
        """
        key = microseconds(window.start)
        rows = [{"start": key, "name": value.name, "column": value.column, "value": value.value} for value in values]
        with self._database.writing() as connection:
            finished = {**changed, "finished_at": self._database.now(connection)}
            if connection.execute(update(windows).where(_claimed(window)).values(finished)).rowcount == 0:
                return False
            connection.execute(window_values.delete().where(window_values.c.start == key))
            if rows:
                connection.execute(insert(window_values), rows)
            return True

    def defer(self, window: WindowRecord, reason: str, trouble: FailureCause) -> timedelta | None:
        """Record a failed try of a claimed window; return how long until the next one, None where there is none.

        Nothing is recorded where another has claimed the window since.
        """
        faults = window.faults + (trouble == FailureCause.WINDOW)
        wait = wait_after(trouble, window.tries, faults)
        with self._database.writing() as connection:
            if connection.execute(select(windows.c.start).where(_claimed(window))).first() is not None:
                now = self._database.now(connection)
                retry_at = None if wait is None else now + _microseconds_of(wait)
                _set_failed(connection, microseconds(window.start), reason, faults, retry_at)
        return wait

    def claimed(self, window: WindowRecord) -> bool:
        """Whether nobody has claimed the window since this claimant did."""
        with self._database.reading() as connection:
            return connection.execute(select(windows.c.start).where(_claimed(window))).first() is not None

    def release_claim(self, window: WindowRecord) -> None:
        """Leave a claimed window to whoever claims it next, as if this try had not been."""
        with self._database.writing() as connection:
            connection.execute(update(windows).where(_claimed(window)).values(status=WindowStatus.DUE))

    def newest(self, limit: int) -> list[WindowRecord]:
        """Return the newest windows, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(windows).order_by(windows.c.start.desc()).limit(limit))
            return [window_of(row) for row in rows]

    def latest_report(self) -> WindowRecord | None:
        """Return the newest window that has an HTML report."""
        with self._database.reading() as connection:
            query = select(windows).where(windows.c.report_file.is_not(None)).order_by(windows.c.start.desc()).limit(1)
            row = connection.execute(query).first()
            return None if row is None else window_of(row)

    def measured(self, names: Collection[str], model_version: str, limit: int) -> list[WindowRecord]:
        """Return the newest posted windows of a model version that have a value of one of the names, newest first."""
        has_value = exists().where(window_values.c.start == windows.c.start, window_values.c.name.in_(names))
        query = (
            select(windows)
            .where(windows.c.status == WindowStatus.POSTED, windows.c.model_version == model_version, has_value)
            .order_by(windows.c.start.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query)]

    def count_by_status(self) -> dict[str, int]:
        """Return how many windows have each status."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(windows.c.status, func.count().label("windows")).group_by(windows.c.status)
            )
            return {row.status: row.windows for row in rows}

    def series(
        self,
        name: str | None,
        column: str | None,
        start: datetime | None,
        end: datetime | None,
        *,
        limit: int,
        skip: int = 0,
    ) -> Sequence[tuple[datetime, datetime, WindowValue]]:
        """Return measured values of windows that start in [start, end), oldest first.

        Of more than ``limit`` these are the newest, after leaving out the newest ``skip``.
        """
        query = select(window_values, windows.c.end).join(windows, windows.c.start == window_values.c.start)
        if name is not None:
            query = query.where(window_values.c.name == name)
        if column is not None:
            query = query.where(window_values.c.column == column)
        if start is not None:
            query = query.where(window_values.c.start >= microseconds(start))
        if end is not None:
            query = query.where(window_values.c.start < microseconds(end))
        by_age = (window_values.c.start.desc(), window_values.c.name, window_values.c.column)
        query = query.order_by(*by_age).limit(limit).offset(skip)
        with self._database.reading() as connection:
            return [
                (moment(row.start), moment(row.end), WindowValue(row.name, row.column, row.value))
                for row in reversed(connection.execute(query).all())
            ]


def unfinished() -> ColumnElement[bool]:
    """Windows that are still to be posted; a failed one without a next try is given up."""
    states = windows.c.status.in_((WindowStatus.DUE, WindowStatus.RUNNING, WindowStatus.FAILED))
    return and_(states, or_(windows.c.status != WindowStatus.FAILED, windows.c.retry_at.is_not(None)))


def _oldest(connection: Connection, now: int) -> Row[Any] | None:
    """Return the oldest window that is still to be posted; one that stands aside counts once its time has come."""
    retry_at = windows.c.retry_at
    ready = or_(retry_at.is_(None), retry_at <= now, retry_at > now + IMPLAUSIBLE_WAIT)
    in_line = or_(windows.c.faults < FAULTS_UNTIL_DEFERRED, ready)
    return connection.execute(select(windows).where(unfinished(), in_line).order_by(windows.c.start).limit(1)).first()


def _ready(retry_at: int | None, now: int) -> bool:
    """Whether the time of a window's next try has come."""
    return retry_at is None or not now < retry_at <= now + IMPLAUSIBLE_WAIT


def _claimed(window: WindowRecord) -> ColumnElement[bool]:
    """Whether the window is still as this claimant left it: each claim counts one try more."""
    return and_(
        windows.c.start == microseconds(window.start),
        windows.c.status == WindowStatus.RUNNING,
        windows.c.tries == window.tries,
    )


def _set_failed(connection: Connection, start: int, reason: str, faults: int, retry_at: int | None) -> None:
    failed = {"status": WindowStatus.FAILED, "reason": reason, "faults": faults, "retry_at": retry_at}
    connection.execute(update(windows).where(windows.c.start == start).values(failed))


def _retry_at(now: int, tries: int, faults: int) -> int | None:
    wait = wait_after(FailureCause.WINDOW, tries, faults)
    return None if wait is None else now + _microseconds_of(wait)


def _microseconds_of(interval: timedelta) -> int:
    return interval // timedelta(microseconds=1)


def window_of(row: Row[Any], **changed: Any) -> WindowRecord:
    """Return a row of the table as a window."""
    fields = {**row._mapping, **changed}  # noqa: SLF001 - SQLAlchemy's documented name for a row as a mapping
    for name in MOMENTS:
        if fields[name] is not None:
            fields[name] = moment(fields[name])
    fields["status"] = WindowStatus(fields["status"])
    return WindowRecord(**fields)


class RetainedWindows:
    """The posted windows of one prediction log. Their rows stay for good: state, counts and failed checks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def with_snapshot(self) -> list[WindowRecord]:
        """Return the windows whose snapshot is still there, oldest first."""
        query = select(windows).where(windows.c.snapshot_id.is_not(None), windows.c.status == WindowStatus.POSTED)
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def with_report(self, before: datetime) -> list[WindowRecord]:
        """Return the windows that ended before that time and whose report is still there, oldest first."""
        query = select(windows).where(windows.c.report_file.is_not(None), windows.c.end < microseconds(before))
        with self._database.reading() as connection:
            return [window_of(row) for row in connection.execute(query.order_by(windows.c.start))]

    def starting_at(self, starts: Collection[datetime]) -> dict[datetime, WindowRecord]:
        """Return the posted windows that start at these times, by their start."""
        keys = [microseconds(start) for start in starts]
        query = select(windows).where(windows.c.start.in_(keys), windows.c.status == WindowStatus.POSTED)
        with self._database.reading() as connection:
            return {window.start: window for window in map(window_of, connection.execute(query))}

    def mark_orphan(self, window: WindowRecord) -> None:
        """Record that a window's snapshot is going, before it goes: then that is finished whatever the clock says."""
        with self._database.writing() as connection:
            going = {"snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == microseconds(window.start)).values(going))

    def mark_snapshot_removed(self, window: WindowRecord) -> int:
        """Record that a window's snapshot is gone, and remove its values; return how many those were."""
        key = microseconds(window.start)
        with self._database.writing() as connection:
            gone = {"snapshot_id": None, "snapshot_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == key).values(gone))
            return connection.execute(delete(window_values).where(window_values.c.start == key)).rowcount

    def mark_report_removed(self, window: WindowRecord) -> None:
        """Record that a window's report is gone."""
        with self._database.writing() as connection:
            gone = {"report_file": None, "report_removed_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == microseconds(window.start)).values(gone))

    def adopt(self, window: WindowRecord, snapshot_id: str) -> None:
        """Record another snapshot as the window's: the one that was recorded is not there, and this one is."""
        with self._database.writing() as connection:
            where = windows.c.start == microseconds(window.start)
            connection.execute(update(windows).where(where).values(snapshot_id=snapshot_id))
