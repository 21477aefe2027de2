"""Owns the table of windows: how the timeline is cut, which window is next, and what became of each.

Windows touch: each starts where the one before ended, so that every logged row is in exactly one. They end on
multiples of the interval since the epoch (UTC), or earlier where a person asked for a snapshot.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.tables import horizon, labels, predictions, window_values, windows

UNFINISHED = (WindowStatus.DUE, WindowStatus.RUNNING, WindowStatus.FAILED)
EMPTY_REASON = "no predictions and no labels"


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
            start = _open_since(connection, step)
            if start is None or _next_boundary(start, step) > now:
                return 0
            return _close(connection, _cuts(start, now, step))

    def close_now(self, interval: timedelta) -> WindowRecord | None:
        """Close the window that is open, whatever its length; None where nothing was logged since the last window."""
        step = _microseconds_of(interval)
        with self._database.writing() as connection:
            now = self._database.closing(connection)
            start = _open_since(connection, step)
            if start is None or _first_event(connection, start) is None:
                return None
            cuts = _cuts(start, now, step)
            last = cuts[-1][1] if cuts else start
            if last < now:
                cuts.append((last, now))
            _close(connection, cuts)
            row = connection.execute(select(windows).order_by(windows.c.start.desc()).limit(1)).one()
            return _record(row)

    def claim(self) -> WindowRecord | None:
        """Mark the oldest unfinished window as running and return it; None where none is, or it waits for its retry."""
        with self._database.writing() as connection:
            row = connection.execute(
                select(windows)
                .where(
                    windows.c.status.in_(UNFINISHED),
                    (windows.c.status != "failed") | windows.c.retry_at.is_not(None),
                )
                .order_by(windows.c.start)
                .limit(1)
            ).first()
            if row is None or (row.retry_at is not None and row.retry_at > self._database.now(connection)):
                return None
            changed = {"status": WindowStatus.RUNNING, "tries": row.tries + 1, "retry_at": None}
            connection.execute(update(windows).where(windows.c.start == row.start).values(changed))
            return _record(row, **changed)

    def waiting(self) -> bool:
        """Whether a window is to be taken now."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(windows.c.retry_at)
                .where(
                    windows.c.status.in_(UNFINISHED),
                    (windows.c.status != "failed") | windows.c.retry_at.is_not(None),
                )
                .order_by(windows.c.start)
                .limit(1)
            ).first()
            return row is not None and (row.retry_at is None or row.retry_at <= self._database.now(connection))

    def finish(self, start: datetime, values: Iterable[WindowValue], changed: Mapping[str, Any]) -> None:
        """Record what became of the window that starts at ``start``, and what its snapshot measured."""
        key = microseconds(start)
        rows = [{"start": key, "name": value.name, "column": value.column, "value": value.value} for value in values]
        with self._database.writing() as connection:
            finished = {**changed, "finished_at": self._database.now(connection)}
            connection.execute(update(windows).where(windows.c.start == key).values(finished))
            connection.execute(window_values.delete().where(window_values.c.start == key))
            if rows:
                connection.execute(insert(window_values), rows)

    def postpone(self, start: datetime, reason: str, wait: timedelta | None) -> None:
        """Record a failed try; ``wait`` is how long until the next one, None where there is none."""
        key = microseconds(start)
        with self._database.writing() as connection:
            now = self._database.now(connection)
            retry_at = None if wait is None else now + _microseconds_of(wait)
            connection.execute(
                update(windows)
                .where(windows.c.start == key)
                .values(status=WindowStatus.FAILED, reason=reason, retry_at=retry_at, finished_at=now)
            )

    def newest(self, limit: int) -> list[WindowRecord]:
        """Return the newest windows, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(windows).order_by(windows.c.start.desc()).limit(limit))
            return [_record(row) for row in rows]

    def latest_report(self) -> WindowRecord | None:
        """Return the newest window that has an HTML report."""
        with self._database.reading() as connection:
            query = select(windows).where(windows.c.report_file.is_not(None)).order_by(windows.c.start.desc()).limit(1)
            row = connection.execute(query).first()
            return None if row is None else _record(row)

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
            return [_record(row) for row in connection.execute(query)]

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


def _open_since(connection: Connection, step: int) -> int | None:
    """Where the open window starts; None where nothing was ever logged."""
    last_end = connection.execute(select(func.max(windows.c.end))).scalar_one()
    if last_end is not None:
        return int(last_end)
    first = _first_event(connection, 0)
    return None if first is None else first // step * step


def _first_event(connection: Connection, since: int) -> int | None:
    """When the first prediction or label at or after ``since`` was logged."""
    found = [
        connection.execute(select(func.min(column)).where(column >= since)).scalar_one()
        for column in (predictions.c.logged_at, labels.c.arrived_at)
    ]
    return min((stamp for stamp in found if stamp is not None), default=None)


def _next_boundary(start: int, step: int) -> int:
    return (start // step + 1) * step


def _cuts(start: int, now: int, step: int) -> list[tuple[int, int]]:
    """Cut the time from ``start`` into the windows that have ended by ``now``."""
    cuts = []
    while (end := _next_boundary(start, step)) <= now:
        cuts.append((start, end))
        start = end
    return cuts


def _close(connection: Connection, cuts: list[tuple[int, int]]) -> int:
    """Insert the windows: due where something was logged in them, else skipped at once."""
    if not cuts:
        return 0
    rows: list[dict[str, Any]] = []
    event = _first_event(connection, cuts[0][0])
    for start, end in cuts:
        if event is not None and event < start:
            event = _first_event(connection, start)
        empty = event is None or event >= end
        rows.append(
            {
                "start": start,
                "end": end,
                "status": WindowStatus.SKIPPED if empty else WindowStatus.DUE,
                "reason": EMPTY_REASON if empty else None,
                "rows": 0 if empty else None,
                "labelled_rows": 0 if empty else None,
                "failed_checks": [],
                "not_computed": [],
                "tries": 0,
            }
        )
    connection.execute(insert(windows), rows)
    connection.execute(update(horizon).values(closed_until=cuts[-1][1]))
    return len(rows)


def _microseconds_of(interval: timedelta) -> int:
    return interval // timedelta(microseconds=1)


def _record(row: Row[Any], **changed: Any) -> WindowRecord:
    fields = {**row._mapping, **changed}  # noqa: SLF001 - SQLAlchemy's documented name for a row as a mapping
    for name in ("start", "end", "retry_at", "finished_at"):
        if fields[name] is not None:
            fields[name] = moment(fields[name])
    fields["status"] = WindowStatus(fields["status"])
    return WindowRecord(**fields)
