"""The table of windows: how time is cut into them, which is next, and the outcome of each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, insert, or_, select, update

from api.errors import NothingToSnapshot
from api.prediction_log.alarms import record_statistics
from api.prediction_log.clock import WindowTime
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.lease import Lease
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.retry import DEFERRED_WAIT, FAULTS_UNTIL_DEFERRED, FailureCause, wait_after
from api.prediction_log.tables import horizon, labels, predictions, window_values, windows

EMPTY_REASON = "no predictions and no labels"
MAX_CUT = timedelta(days=1) // timedelta(microseconds=1)
"""A longer stretch without a row becomes one window: a month of downtime need not be thousands."""
CUT_OFF_REASON = "the process ended while it processed this window"
IMPLAUSIBLE_WAIT = 2 * DEFERRED_WAIT // timedelta(microseconds=1)
"""No window waits this long: such a retry was set while a clock was wrong, and all windows would wait for it."""
SHORTEST = timedelta(seconds=1) // timedelta(microseconds=1)
MOMENTS = ("start", "end", "retry_at", "finished_at", "snapshot_removed_at", "report_removed_at")


@dataclass(frozen=True, slots=True)
class MinimalWindow:
    """How many predictions, or else how many labels, of one version of the model a window needs to be measured."""

    rows: int
    labels: int

    def require(self, connection: Connection, start: int) -> None:
        """Raise NothingToSnapshot unless that much was logged since ``start``."""
        counts = (func.count(), predictions.c.model_version)
        made = select(*counts).where(predictions.c.logged_at >= start).group_by(predictions.c.model_version)
        joined = select(*counts).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
        arrived = joined.where(labels.c.arrived_at >= start).group_by(predictions.c.model_version)
        most_rows, most_labels = (
            max((row[0] for row in connection.execute(one)), default=0) for one in (made, arrived)
        )
        if most_rows < self.rows and most_labels < self.labels:
            raise NothingToSnapshot(
                f"not enough yet: {most_rows} of at least {self.rows} rows, {most_labels} of at least {self.labels} "
                "labels; the window stays open. Send more, or add ?force=true to close it all the same"
            )


@dataclass(frozen=True, slots=True)
class WindowRun:
    """Windows in a row that were skipped, as one ``window``, or a window of another status alone."""

    window: WindowRecord
    windows: int


class WindowStore:
    """The windows of one prediction log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._time = WindowTime(database.elapsed)

    def close_elapsed(self, interval: timedelta) -> int:
        """Close every window that has ended by now, and return how many.

        One transaction: once it is committed no row can be logged into the closed windows any more.
        """
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            _reopen(connection, now, step)
            start = open_since(connection, step)
            if start is None:
                return 0
            now = self._time.follow(now, start)
            if next_boundary(start, step) > now:
                return 0
            return _close_windows(connection, start, _last_boundary(now, step), step)

    def close_now(self, interval: timedelta, enough: MinimalWindow | None = None) -> WindowRecord | None:
        """Close the window that is open, whatever its length; None where nothing was logged since the last window.

        Raises NothingToSnapshot, and leaves it open, where it has less than ``enough``.
        """
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            start = open_since(connection, step)
            if start is None or _events_since(connection, start) is None:
                return None
            if enough is not None:
                enough.require(connection, start)
            # where closed windows are in the future, the rows since then have the time of their end
            _close_windows(connection, start, max(now, start + SHORTEST), step)
            row = connection.execute(select(windows).order_by(windows.c.start.desc()).limit(1)).one()
            return window_of(row)

    def claim(self, lease: Lease | None = None) -> WindowRecord | None:
        """Mark the oldest window that is due as running and return it.

        None where no window is due, or it waits for its retry, or the lease, if one is given, is no longer held: this
        is asked in the same transaction, so that of two processes that believe to hold it only one claims.
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

    def has_due_window(self) -> bool:
        """Whether `claim` would find a window now."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            row = _oldest(connection, now)
            return row is not None and _ready(row.retry_at, now)

    def finish(self, window: WindowRecord, values: Sequence[WindowValue], changed: Mapping[str, Any]) -> bool:
        """Record the outcome of a claimed window, and what its snapshot measured.

        False, with nothing recorded, where another process has claimed the window since.
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
                if version := changed.get("model_version"):
                    record_statistics(connection, key, version, values)
            return True

    def defer(self, window: WindowRecord, reason: str, cause: FailureCause) -> timedelta | None:
        """Record a failed try of a claimed window; return the wait until the next try, None if there is none.

        Nothing is recorded where another process has claimed the window since.
        """
        faults = window.faults + (cause == FailureCause.WINDOW)
        wait = wait_after(cause, window.tries, faults)
        with self._database.writing() as connection:
            if connection.execute(select(windows.c.start).where(_claimed(window))).first() is not None:
                now = self._database.now(connection)
                retry_at = None if wait is None else now + _microseconds_of(wait)
                _set_failed(connection, microseconds(window.start), reason, faults, retry_at)
        return wait

    def is_claimed(self, window: WindowRecord) -> bool:
        """Whether this claim of the window is still the newest one."""
        with self._database.reading() as connection:
            return connection.execute(select(windows.c.start).where(_claimed(window))).first() is not None

    def release_claim(self, window: WindowRecord) -> None:
        """Make a claimed window due again, so that another process can claim it."""
        with self._database.writing() as connection:
            connection.execute(update(windows).where(_claimed(window)).values(status=WindowStatus.DUE))

    def newest(self, limit: int, status: WindowStatus | None = None) -> list[WindowRecord]:
        """Return the newest windows, or those of a status, newest first."""
        query = select(windows).order_by(windows.c.start.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query if status is None else query.where(windows.c.status == status))
            return [window_of(row) for row in rows]

    def newest_runs(self, limit: int) -> list[WindowRun]:
        """Return the newest windows, newest first, with the skipped ones in a row as one."""
        skipped = windows.c.status == WindowStatus.SKIPPED
        shown: list[WindowRun] = []
        with self._database.reading() as connection:
            others = connection.execute(select(windows).where(~skipped).order_by(windows.c.start.desc()).limit(limit))
            before: int | None = None
            for row in (*others, None):
                inside = [] if row is None else [windows.c.start >= row.end]
                inside += [] if before is None else [windows.c.start < before]
                run = select(
                    func.count(), func.min(windows.c.start), func.sum(windows.c.rows), func.sum(windows.c.labelled_rows)
                )
                count, first, rows, labelled = connection.execute(run.where(skipped, *inside)).one()
                if count:
                    newest = select(windows).where(skipped, *inside).order_by(windows.c.start.desc()).limit(1)
                    window = window_of(connection.execute(newest).one())
                    merged = replace(window, start=moment(first), rows=int(rows or 0), labelled_rows=int(labelled or 0))
                    shown.append(WindowRun(merged, count))
                if row is not None:
                    shown.append(WindowRun(window_of(row), 1))
                    before = row.start
        return shown[:limit]

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
        time_of = cache(moment)  # a window has many values
        with self._database.reading() as connection:
            return [
                (time_of(began), time_of(ended), WindowValue(metric, of, value))
                for began, metric, of, value, ended in reversed(connection.execute(query).all())
            ]


def unfinished() -> ColumnElement[bool]:
    """Windows that are not posted yet but will be tried; a failed window without a next try is given up."""
    states = windows.c.status.in_((WindowStatus.DUE, WindowStatus.RUNNING, WindowStatus.FAILED))
    return and_(states, or_(windows.c.status != WindowStatus.FAILED, windows.c.retry_at.is_not(None)))


def _oldest(connection: Connection, now: int) -> Row[Any] | None:
    """Return the oldest window that is not posted yet; a deferred window counts once its time has come."""
    retry_at = windows.c.retry_at
    ready = or_(retry_at.is_(None), retry_at <= now, retry_at > now + IMPLAUSIBLE_WAIT)
    in_line = or_(windows.c.faults < FAULTS_UNTIL_DEFERRED, ready)
    return connection.execute(select(windows).where(unfinished(), in_line).order_by(windows.c.start).limit(1)).first()


def _ready(retry_at: int | None, now: int) -> bool:
    """Whether the time of a window's next try has come."""
    return retry_at is None or not now < retry_at <= now + IMPLAUSIBLE_WAIT


def _claimed(window: WindowRecord) -> ColumnElement[bool]:
    """Whether this claim is the newest: each claim counts one more try."""
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


def open_since(connection: Connection, step: int) -> int | None:
    """Return the start of the open window; None if nothing was ever logged."""
    last_end = connection.execute(select(func.max(windows.c.end))).scalar_one()
    if last_end is not None:
        return int(last_end)
    first = _events_since(connection, 0)
    return None if first is None else _last_boundary(first, step)


def _events_since(connection: Connection, since: int) -> int | None:
    """Return when the first prediction or label at or after ``since`` was logged."""
    found = [
        connection.execute(select(func.min(column)).where(column >= since)).scalar_one()
        for column in (predictions.c.logged_at, labels.c.arrived_at)
    ]
    return min((stamp for stamp in found if stamp is not None), default=None)


def next_boundary(start: int, step: int) -> int:
    """Return the end of a window that starts at ``start``; a step is the length of a window."""
    return _last_boundary(start, step) + step


def _last_boundary(time: int, step: int) -> int:
    """Return the newest end of a window that is not after ``time``."""
    return time // step * step


def _close_windows(connection: Connection, start: int, until: int, step: int) -> int:
    """Close the time from ``start`` to ``until``, and return the number of its windows.

    They end on boundaries, except the last one, which ends at ``until``. A window is due if something was logged in
    it; otherwise it is skipped at once.
    """
    rows: list[dict[str, Any]] = []
    event = _events_since(connection, start)
    while start < until:
        if event is not None and event < start:
            event = _events_since(connection, start)
        end = min(next_boundary(start, step), until)
        quiet_until = _last_boundary(until if event is None else min(event, until), step)
        if quiet_until - start > MAX_CUT:
            end = quiet_until
        rows.append(_closed(start, end, empty=event is None or event >= end))
        start = end
    if rows:
        connection.execute(insert(windows), rows)
        connection.execute(update(horizon).values(closed_until=until))
    return len(rows)


def _reopen(connection: Connection, now: int, step: int) -> None:
    """Delete the newest windows if they are empty and in the future: the clock that closed them was ahead.

    Otherwise rows would be dated into that future, and would miss the windows until then.
    """
    closed_until = connection.execute(select(horizon.c.closed_until)).scalar_one()
    if closed_until <= now + step:
        return
    filled = select(func.coalesce(func.max(windows.c.end), 0)).where(windows.c.reason.is_distinct_from(EMPTY_REASON))
    filled_until = connection.execute(filled).scalar_one()
    connection.execute(delete(windows).where(windows.c.start >= filled_until, windows.c.end > now))
    last_end = connection.execute(select(func.coalesce(func.max(windows.c.end), 0))).scalar_one()
    connection.execute(update(horizon).values(closed_until=last_end))


def _closed(start: int, end: int, *, empty: bool) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "status": WindowStatus.SKIPPED if empty else WindowStatus.DUE,
        "reason": EMPTY_REASON if empty else None,
        "rows": 0 if empty else None,
        "labelled_rows": 0 if empty else None,
        "failed_checks": [],
        "not_computed": [],
        "tries": 0,
        "faults": 0,
    }
