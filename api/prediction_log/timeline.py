"""How the time of a model is cut into windows that touch, each beginning where the one before ended."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from api.prediction_log.records import SOLE_MODEL, WindowStatus
from api.prediction_log.tables import horizon, labels, predictions, windows

EMPTY_REASON = "no predictions and no labels"
MAX_CUT = timedelta(days=1) // timedelta(microseconds=1)
"""A longer stretch without a row becomes one window: a month of downtime need not be thousands."""


def open_since(connection: Connection, step: int, model_id: int = SOLE_MODEL) -> int | None:
    """Return the start of the model's open window; None if nothing of it was ever logged."""
    last_end = newest_end(connection, model_id)
    if last_end is not None:
        return last_end
    first = events_since(connection, 0, model_id)
    return None if first is None else last_boundary(first, step)


def newest_end(connection: Connection, model_id: int) -> int | None:
    """Return the end of the model's newest window; None where it has no window."""
    query = select(windows.c.end).where(windows.c.model_id == model_id).order_by(windows.c.start.desc()).limit(1)
    return connection.execute(query).scalar()


def events_since(connection: Connection, since: int, model_id: int) -> int | None:
    """Return when the model's first prediction or label at or after ``since`` was logged."""
    found = [
        connection.execute(select(func.min(column)).where(of_model == model_id, column >= since)).scalar_one()
        for of_model, column in (
            (predictions.c.model_id, predictions.c.logged_at),
            (labels.c.model_id, labels.c.arrived_at),
        )
    ]
    return min((stamp for stamp in found if stamp is not None), default=None)


def next_boundary(start: int, step: int) -> int:
    """Return the end of a window that starts at ``start``; a step is the length of a window."""
    return last_boundary(start, step) + step


def last_boundary(time: int, step: int) -> int:
    """Return the newest end of a window that is not after ``time``."""
    return time // step * step


def close_windows(connection: Connection, start: int, until: int, step: int, model_id: int) -> int:
    """Close the model's time from ``start`` to ``until``, and return the number of its windows.

    They end on boundaries, except the last one, which ends at ``until``. A window is due if something was logged in
    it; otherwise it is skipped at once.
    """
    rows: list[dict[str, Any]] = []
    event = events_since(connection, start, model_id)
    while start < until:
        if event is not None and event < start:
            event = events_since(connection, start, model_id)
        end = min(next_boundary(start, step), until)
        quiet_until = last_boundary(until if event is None else min(event, until), step)
        if quiet_until - start > MAX_CUT:
            end = quiet_until
        rows.append(_closed(start, end, model_id, empty=event is None or event >= end))
        start = end
    if rows:
        connection.execute(insert(windows), rows)
        _set_horizon(connection, until, model_id)
    return len(rows)


def reopen(connection: Connection, now: int, step: int, model_id: int) -> None:
    """Delete the model's newest windows if they are empty and in the future: the clock that closed them was ahead.

    Otherwise rows would be dated into that future, and would miss the windows until then.
    """
    query = select(horizon.c.closed_until).where(horizon.c.id == model_id)
    closed_until = connection.execute(query).scalar()
    if closed_until is None or closed_until <= now + step:
        return
    ours = windows.c.model_id == model_id
    ends = select(func.coalesce(func.max(windows.c.end), 0))
    filled = ends.where(ours, windows.c.reason.is_distinct_from(EMPTY_REASON))
    filled_until = connection.execute(filled).scalar_one()
    connection.execute(delete(windows).where(ours, windows.c.start >= filled_until, windows.c.end > now))
    _set_horizon(connection, newest_end(connection, model_id) or 0, model_id)


def _set_horizon(connection: Connection, until: int, model_id: int) -> None:
    of_model = update(horizon).where(horizon.c.id == model_id)
    if connection.execute(of_model.values(closed_until=until)).rowcount == 0:
        connection.execute(insert(horizon).values(id=model_id, closed_until=until))


def _closed(start: int, end: int, model_id: int, *, empty: bool) -> dict[str, Any]:
    return {
        "model_id": model_id,
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
