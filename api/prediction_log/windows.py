"""The table of windows: which ones of a model have ended, which is next, and the outcome of each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, insert, or_, select, tuple_, update

from api.errors import NothingToSnapshot
from api.prediction_log.alarms import record_statistics
from api.prediction_log.changed_rows import (
    CarryingRow,
    RowsOfCheck,
    erased_among,
    read_changed_rows,
    record_changed_rows,
)
from api.prediction_log.clock import WindowTime
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.layouts import counts_by_version
from api.prediction_log.lease import Lease
from api.prediction_log.records import SOLE_MODEL, WindowRecord, WindowStatus, WindowValue
from api.prediction_log.retry import DEFERRED_WAIT, FAULTS_UNTIL_DEFERRED, FailureCause, wait_after
from api.prediction_log.tables import labels, predictions, window_values, windows
from api.prediction_log.timeline import close_windows, events_since, last_boundary, next_boundary, open_since, reopen

CUT_OFF_REASON = "the process ended while it processed this window"
IMPLAUSIBLE_WAIT = 2 * DEFERRED_WAIT // timedelta(microseconds=1)
"""No window waits this long: such a retry was set while a clock was wrong, and all windows would wait for it."""
SHORTEST = timedelta(seconds=1) // timedelta(microseconds=1)
MOMENTS = ("start", "end", "retry_at", "finished_at", "snapshot_removed_at", "report_removed_at")


@dataclass(frozen=True, slots=True)
class MinimalWindow:
    """How many predictions, or else how many labels, of one version of a model a window needs to be measured."""

    rows: int
    labels: int

    def require(self, connection: Connection, start: int, model_id: int) -> None:
        """Raise NothingToSnapshot unless that much of the model was logged since ``start``."""
        of_model, arrived_of_model = predictions.c.model_id == model_id, labels.c.model_id == model_id
        made = select(func.count()).where(of_model, predictions.c.logged_at >= start)
        joined = select(func.count()).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
        arrived = joined.where(arrived_of_model, labels.c.arrived_at >= start)
        most_rows, most_labels = (
            max(counts_by_version(connection, one).values(), default=0) for one in (made, arrived)
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
    """The windows of one model."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self.model_id = model_id
        self._ours = windows.c.model_id == model_id
        self._time = WindowTime(database.elapsed)

    def close_elapsed(self, interval: timedelta) -> int:
        """Close every window that has ended by now, and return how many.

        One transaction: once it is committed no row can be logged into the closed windows any more.
        """
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            reopen(connection, now, step, self.model_id)
            start = open_since(connection, step, self.model_id)
            if start is None:
                return 0
            now = self._time.follow(now, start)
            if next_boundary(start, step) > now:
                return 0
            return close_windows(connection, start, last_boundary(now, step), step, self.model_id)

    def close_now(self, interval: timedelta, enough: MinimalWindow | None = None) -> WindowRecord | None:
        """Close the window that is open, whatever its length; None where nothing was logged since the last window.

        Raises NothingToSnapshot, and leaves it open, where it has less than ``enough``.
        """
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            start = open_since(connection, step, self.model_id)
            if start is None or events_since(connection, start, self.model_id) is None:
                return None
            if enough is not None:
                enough.require(connection, start, self.model_id)
            # where closed windows are in the future, the rows since then have the time of their end
            close_windows(connection, start, max(now, start + SHORTEST), step, self.model_id)
            newest = select(windows).where(self._ours).order_by(windows.c.start.desc()).limit(1)
            row = connection.execute(newest).one()
            return window_of(row)

    def claim(self, lease: Lease | None = None) -> WindowRecord | None:
        """Mark the model's oldest window that is due as running and return it.

        None where no window is due, or the oldest waits for its retry, or the lease, if one is given, is no longer
        held: this is asked in the same transaction, so that of two processes that believe to hold it only one claims.
        """
        with self._database.writing() as connection:
            if lease is not None and not lease.holds(connection):
                return None
            now = self._database.now(connection)
            while (row := self._oldest(connection, now)) is not None:
                if not _ready(row.retry_at, now):
                    return None
                cut_off = row.status == WindowStatus.RUNNING
                tries, faults = row.tries + 1, row.faults + cut_off
                if cut_off and faults >= FAULTS_UNTIL_DEFERRED:
                    _set_failed(
                        connection,
                        _is(self.model_id, row.start),
                        CUT_OFF_REASON,
                        faults,
                        _retry_at(now, row.tries, faults),
                    )
                    continue
                changed = {"status": WindowStatus.RUNNING, "tries": tries, "faults": faults, "retry_at": None}
                connection.execute(update(windows).where(_is(self.model_id, row.start)).values(changed))
                return window_of(row, **changed)
            return None

    def has_due_window(self) -> bool:
        """Whether `claim` would find a window now."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            row = self._oldest(connection, now)
            return row is not None and _ready(row.retry_at, now)

    def finish(
        self,
        window: WindowRecord,
        values: Sequence[WindowValue],
        changed: Mapping[str, Any],
        rows_of_checks: Sequence[RowsOfCheck] = (),
    ) -> bool:
        """Record the outcome of a claimed window, what its snapshot measured, and the rows that failed checks found.

        False, with nothing recorded, where another process has claimed the window since.
        """
        key = microseconds(window.start)
        of_window = {"model_id": window.model_id, "start": key}
        rows = [{**of_window, "name": value.name, "column": value.column, "value": value.value} for value in values]
        with self._database.writing() as connection:
            finished = {**changed, "finished_at": self._database.now(connection)}
            if connection.execute(update(windows).where(_claimed(window)).values(finished)).rowcount == 0:
                return False
            earlier = window_values.c.model_id == window.model_id, window_values.c.start == key
            connection.execute(window_values.delete().where(*earlier))
            record_changed_rows(connection, window.model_id, key, rows_of_checks)
            if rows:
                connection.execute(insert(window_values), rows)
                if version := changed.get("model_version"):
                    record_statistics(connection, key, version, values, window.model_id)
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
                _set_failed(connection, is_row_of(window), reason, faults, retry_at)
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
        query = select(windows).where(self._ours).order_by(windows.c.start.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query if status is None else query.where(windows.c.status == status))
            return [window_of(row) for row in rows]

    def rows_of_checks(
        self, start: datetime, check: str | None, column: str | None, limit: int
    ) -> list[CarryingRow] | None:
        """Return the rows that a window's failed checks found; see `read_changed_rows`."""
        return read_changed_rows(self._database, start, check=check, column=column, limit=limit, model_id=self.model_id)

    def erased_rows(self, found: Sequence[RowsOfCheck]) -> set[str]:
        """Return the ids among these that the log has no more."""
        if not found:
            return set()
        with self._database.reading() as connection:
            return erased_among(connection, self.model_id, found)

    def newest_runs(self, limit: int) -> list[WindowRun]:
        """Return the newest windows, newest first, with the skipped ones in a row as one."""
        skipped = and_(self._ours, windows.c.status == WindowStatus.SKIPPED)
        other = and_(self._ours, windows.c.status != WindowStatus.SKIPPED)
        shown: list[WindowRun] = []
        with self._database.reading() as connection:
            others = connection.execute(select(windows).where(other).order_by(windows.c.start.desc()).limit(limit))
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
            query = select(windows).where(self._ours, windows.c.report_file.is_not(None))
            row = connection.execute(query.order_by(windows.c.start.desc()).limit(1)).first()
            return None if row is None else window_of(row)

    def measured(self, names: Collection[str], model_version: str, limit: int) -> list[WindowRecord]:
        """Return the newest posted windows of a model version that have a value of one of the names, newest first."""
        has_value = exists().where(_of_window(), window_values.c.name.in_(names))
        query = (
            select(windows)
            .where(
                self._ours,
                windows.c.status == WindowStatus.POSTED,
                windows.c.model_version == model_version,
                has_value,
            )
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
        measured = window_values.c
        query = select(measured.start, windows.c.end, measured.name, measured.column, measured.value)
        query = query.join(windows, _of_window()).where(measured.model_id == self.model_id)
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
                for began, ended, metric, of, value in reversed(connection.execute(query).all())
            ]

    def _oldest(self, connection: Connection, now: int) -> Row[Any] | None:
        """Return the oldest window that is not posted yet; a deferred window counts once its time has come."""
        query = select(windows).where(self._ours, _in_line(now)).order_by(windows.c.start).limit(1)
        return connection.execute(query).first()


def unfinished() -> ColumnElement[bool]:
    """Windows that are not posted yet but will be tried; a failed window without a next try is given up."""
    states = windows.c.status.in_((WindowStatus.DUE, WindowStatus.RUNNING, WindowStatus.FAILED))
    return and_(states, or_(windows.c.status != WindowStatus.FAILED, windows.c.retry_at.is_not(None)))


def next_claimable(database: Database, model_ids: Collection[int]) -> int | None:
    """Return which of these models has the window that waited longest, of all that `claim` would find now.

    A model whose oldest window waits for its retry keeps no other model waiting.
    """
    with database.reading() as connection:
        now = database.now(connection)
        of_model = (
            select(windows.c.model_id, func.min(windows.c.start))
            .where(_in_line(now), windows.c.model_id.in_(model_ids))
            .group_by(windows.c.model_id)
        )
        oldest = tuple_(windows.c.model_id, windows.c.start).in_(of_model)
        heads = select(windows.c.model_id, windows.c.retry_at).where(oldest)
        ordered = connection.execute(heads.order_by(windows.c.end, windows.c.start, windows.c.model_id))
        return next((row.model_id for row in ordered if _ready(row.retry_at, now)), None)


def _in_line(now: int) -> ColumnElement[bool]:
    """Windows that are not posted yet and are next in order of age; a deferred one is once its time has come."""
    retry_at = windows.c.retry_at
    ready = or_(retry_at.is_(None), retry_at <= now, retry_at > now + IMPLAUSIBLE_WAIT)
    return and_(unfinished(), or_(windows.c.faults < FAULTS_UNTIL_DEFERRED, ready))


def _of_window() -> ColumnElement[bool]:
    """Whether a value belongs to a window."""
    return and_(window_values.c.model_id == windows.c.model_id, window_values.c.start == windows.c.start)


def _ready(retry_at: int | None, now: int) -> bool:
    """Whether the time of a window's next try has come."""
    return retry_at is None or not now < retry_at <= now + IMPLAUSIBLE_WAIT


def is_row_of(window: WindowRecord) -> ColumnElement[bool]:
    """Whether a row is that of the window."""
    return _is(window.model_id, microseconds(window.start))


def _is(model_id: int, start: int) -> ColumnElement[bool]:
    return and_(windows.c.model_id == model_id, windows.c.start == start)


def _claimed(window: WindowRecord) -> ColumnElement[bool]:
    """Whether this claim is the newest: each claim counts one more try."""
    return and_(is_row_of(window), windows.c.status == WindowStatus.RUNNING, windows.c.tries == window.tries)


def _set_failed(
    connection: Connection, row: ColumnElement[bool], reason: str, faults: int, retry_at: int | None
) -> None:
    failed = {"status": WindowStatus.FAILED, "reason": reason, "faults": faults, "retry_at": retry_at}
    connection.execute(update(windows).where(row).values(failed))


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
