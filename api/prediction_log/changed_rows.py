"""The rows of a window that carry what its failed checks found: their ids are recorded with the window."""

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, and_, delete, insert, select, update

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.layouts import LayoutsInUse
from api.prediction_log.records import SOLE_MODEL, prediction_key, public_id
from api.prediction_log.tables import changed_rows, labels, predictions, windows

IDS_PER_QUERY = 500
WINDOWS_PER_QUERY = 100


class RowsOfCheck(NamedTuple):
    """The rows that carry what one failed check found, the foremost first: pairs of prediction id and score."""

    check: str
    column: str | None
    measure: str | None
    rows: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class CarryingRow:
    """A logged prediction that carries what a failed check found, and by how much."""

    check: str
    column: str | None
    measure: str | None
    score: float
    prediction_id: str
    logged_at: datetime
    model_version: str
    features: dict[str, Any]
    prediction: str
    probabilities: dict[str, float]
    label: str | None


def record_changed_rows(connection: Connection, model_id: int, start: int, found: Sequence[RowsOfCheck]) -> None:
    """Record the rows of a window, in place of what an earlier try recorded; those that were erased are left out."""
    of_window = changed_rows.c.model_id == model_id, changed_rows.c.start == start
    connection.execute(delete(changed_rows).where(*of_window))
    found = _without(found, erased_among(connection, model_id, found))
    if found:
        connection.execute(insert(changed_rows).values(model_id=model_id, start=start, content=_packed(found)))


def erased_among(connection: Connection, model_id: int, found: Sequence[RowsOfCheck]) -> set[str]:
    """Return the ids that the log has no more; those that it has cannot be erased before the transaction ends."""
    named = _named(found)
    return set(named) - held_ids(connection, model_id, named, locked=True)


class NamingWindow(NamedTuple):
    """A window whose recorded rows name some ids, and its report, if that is still there."""

    start: int
    report_file: str | None
    ids: set[str]


def windows_that_name(database: Database, model_id: int, ids: Collection[str]) -> Iterator[NamingWindow]:
    """Yield the windows of a model whose recorded rows name any of the ids. Raises LogUnavailable.

    It looks through all of them: a label that was corrected has left the time at which a window found it.
    """
    wanted, after = set(ids), -1
    of_model = select(changed_rows.c.start, changed_rows.c.content, windows.c.report_file).select_from(
        changed_rows.join(windows, _SAME_WINDOW)
    )
    while True:
        query = of_model.where(changed_rows.c.model_id == model_id, changed_rows.c.start > after)
        with database.reading() as connection:
            found = connection.execute(query.order_by(changed_rows.c.start).limit(WINDOWS_PER_QUERY)).all()
        if not found:
            return
        for row in found:
            if named := wanted & {row_id for one in _unpacked(row.content) for row_id, _ in one.rows}:
                yield NamingWindow(row.start, row.report_file, named)
        after = found[-1].start


def forget_rows(database: Database, model_id: int, start: int, ids: Collection[str]) -> None:
    """Remove ids from the recorded rows of a window. Raises LogUnavailable."""
    of_window = changed_rows.c.model_id == model_id, changed_rows.c.start == start
    with database.writing() as connection:
        content = connection.execute(select(changed_rows.c.content).where(*of_window).with_for_update()).scalar()
        if content is None:
            return
        if left := _without(_unpacked(content), ids):
            connection.execute(update(changed_rows).where(*of_window).values(content=_packed(left)))
        else:
            connection.execute(delete(changed_rows).where(*of_window))


_SAME_WINDOW = and_(changed_rows.c.model_id == windows.c.model_id, changed_rows.c.start == windows.c.start)


def _without(found: Sequence[RowsOfCheck], ids: Collection[str]) -> list[RowsOfCheck]:
    """Return the rows of each check but for those of some ids; a check that has none left is left out."""
    kept = (one._replace(rows=[row for row in one.rows if row[0] not in ids]) for one in found)
    return [one for one in kept if one.rows]


def _packed(found: Sequence[RowsOfCheck]) -> bytes:
    return zlib.compress(json.dumps(found).encode())


def _unpacked(content: bytes) -> list[RowsOfCheck]:
    return [RowsOfCheck(*one) for one in orjson.loads(zlib.decompress(content))]


def read_changed_rows(
    database: Database,
    start: datetime,
    *,
    check: str | None = None,
    column: str | None = None,
    limit: int,
    model_id: int = SOLE_MODEL,
) -> list[CarryingRow] | None:
    """Return the recorded rows of a window that the log still has, by check and the foremost first.

    They are at most ``limit`` rows, which the checks and columns share, or the ones given alone. None where no window
    starts then. Raises LogUnavailable.
    """
    query = select(changed_rows.c.content).select_from(windows.outerjoin(changed_rows, _SAME_WINDOW))
    query = query.where(windows.c.model_id == model_id, windows.c.start == microseconds(start))
    with database.reading() as connection:
        window = connection.execute(query).first()
        if window is None:
            return None
        content = window.content
        recorded = [] if content is None else _unpacked(content)
        wanted = [one for one in recorded if check in {None, one.check} and column in {None, one.column}]
        shown = _shown(connection, model_id, wanted, limit)
        logged = _logged(connection, model_id, sorted({row_id for _, rows in shown for row_id, _ in rows}))
    # a row may be erased between the two reads, where they are not one transaction
    return [
        CarryingRow(one.check, one.column, one.measure, score, **logged[row_id])
        for one, rows in shown
        for row_id, score in rows
        if row_id in logged
    ]


def _shown(
    connection: Connection, model_id: int, wanted: Sequence[RowsOfCheck], limit: int
) -> list[tuple[RowsOfCheck, list[tuple[str, float]]]]:
    """Return the rows of each check that the log still has, at most ``limit`` of all together; only ids are read."""
    held = held_ids(connection, model_id, _named(wanted))
    found: list[tuple[RowsOfCheck, list[tuple[str, float]]]] = []
    left = limit
    for place, one in enumerate(wanted):
        share = left // (len(wanted) - place) or min(1, left)
        rows = [(row_id, score) for row_id, score in one.rows if row_id in held][:share]
        found.append((one, rows))
        left -= len(rows)
    return found


def _named(found: Sequence[RowsOfCheck]) -> list[str]:
    """Return the ids of all the rows, in order."""
    return sorted({row_id for one in found for row_id, _ in one.rows})


def held_ids(connection: Connection, model_id: int, ids: Sequence[str], *, locked: bool = False) -> set[str]:
    """Return those of the ids that the log still has; ``locked`` ones stay until the transaction ends."""
    found: set[str] = set()
    for first in range(0, len(ids), IDS_PER_QUERY):
        keys = [prediction_key(model_id, one) for one in ids[first : first + IDS_PER_QUERY]]
        query = select(predictions.c.id).where(predictions.c.id.in_(keys))
        if locked:
            query = query.order_by(predictions.c.id).with_for_update(read=True, key_share=True)
        found.update(map(public_id, connection.execute(query).scalars()))
    return found


def _logged(connection: Connection, model_id: int, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    query = select(predictions, labels.c.label).select_from(
        predictions.join(labels, labels.c.prediction_id == predictions.c.id, isouter=True)
    )
    layouts, found = LayoutsInUse(connection), dict[str, dict[str, Any]]()
    for first in range(0, len(ids), IDS_PER_QUERY):
        keys = [prediction_key(model_id, one) for one in ids[first : first + IDS_PER_QUERY]]
        for row in connection.execute(query.where(predictions.c.id.in_(keys))).all():
            layout = layouts[row.layout]
            found[public_id(row.id)] = {
                "prediction_id": public_id(row.id),
                "logged_at": moment(row.logged_at),
                "model_version": layout.version_of(row.model_version),
                "features": layout.read_features(row.features),
                "prediction": row.prediction,
                "probabilities": layout.read_probabilities(row.probabilities),
                "label": row.label,
            }
    return found
