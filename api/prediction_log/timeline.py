"""Owns how the timeline is cut into windows, inside the transaction of whoever closes them.

Times are integer microseconds since the epoch; a step is the length of a window.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from api.prediction_log.records import WindowStatus
from api.prediction_log.tables import horizon, labels, predictions, windows

EMPTY_REASON = "no predictions and no labels"
MAX_CUT = timedelta(days=1) // timedelta(microseconds=1)
"""A longer stretch without a row becomes one window: a month of downtime need not be thousands."""


def open_since(connection: Connection, step: int) -> int | None:
    """Return where the open window starts; None where nothing was ever logged."""
    last_end = connection.execute(select(func.max(windows.c.end))).scalar_one()
    if last_end is not None:
        return int(last_end)
    first = events_since(connection, 0)
    return None if first is None else last_boundary(first, step)


def events_since(connection: Connection, since: int) -> int | None:
    """Return when the first prediction or label at or after ``since`` was logged."""
    found = [
        connection.execute(select(func.min(column)).where(column >= since)).scalar_one()
        for column in (predictions.c.logged_at, labels.c.arrived_at)
    ]
    return min((stamp for stamp in found if stamp is not None), default=None)


def next_boundary(start: int, step: int) -> int:
    """Return where a window that starts at ``start`` ends."""
    return last_boundary(start, step) + step


def last_boundary(time: int, step: int) -> int:
    """Return the newest end of a window that is not after ``time``."""
    return time // step * step


def close_windows(connection: Connection, start: int, until: int, step: int) -> int:
    """Close the time from ``start`` to ``until`` and return in how many windows.

    They end on boundaries, but the last one at ``until``. A window is due where something was logged in it, else
    skipped at once.
    """
    rows: list[dict[str, Any]] = []
    event = events_since(connection, start)
    while start < until:
        if event is not None and event < start:
            event = events_since(connection, start)
        end = min(next_boundary(start, step), until)
        quiet_until = last_boundary(until if event is None else min(event, until), step)
        if quiet_until - start > MAX_CUT:
            end = quiet_until
        rows.append(_closed(start, end, empty=event is None or event >= end))
        start = end
    if rows:
        connection.execute(insert(windows), rows)
        connection.execute(update(horizon).values(closed_until=until))
    return len(rows)


def reopen(connection: Connection, now: int, step: int) -> None:
    """Take back the newest windows where they are empty and still to come: the clock that closed them was ahead.

    Rows would else be dated into that future, and the windows until then stay closed to them.
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
