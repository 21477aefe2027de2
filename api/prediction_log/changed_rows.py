"""The rows of a window that carry what its failed checks found: their ids are recorded with the window."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, and_, delete, insert, select

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.records import SOLE_MODEL, prediction_key, public_id
from api.prediction_log.tables import changed_rows, labels, predictions, windows

IDS_PER_QUERY = 500


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
    """Record the rows of a window, in place of what an earlier try recorded."""
    of_window = changed_rows.c.model_id == model_id, changed_rows.c.start == start
    connection.execute(delete(changed_rows).where(*of_window))
    if found:
        content = zlib.compress(json.dumps(found).encode())
        connection.execute(insert(changed_rows).values(model_id=model_id, start=start, content=content))


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
    same = changed_rows.c.model_id == windows.c.model_id, changed_rows.c.start == windows.c.start
    query = select(changed_rows.c.content).select_from(windows.outerjoin(changed_rows, and_(*same)))
    query = query.where(windows.c.model_id == model_id, windows.c.start == microseconds(start))
    with database.reading() as connection:
        window = connection.execute(query).first()
        if window is None:
            return None
        content = window.content
        recorded = [] if content is None else [RowsOfCheck(*one) for one in json.loads(zlib.decompress(content))]
        wanted = [one for one in recorded if check in {None, one.check} and column in {None, one.column}]
        logged = _logged(connection, model_id, sorted({row_id for one in wanted for row_id, _ in one.rows}))
    found: list[CarryingRow] = []
    for place, one in enumerate(wanted):
        share = (limit - len(found)) // (len(wanted) - place) or 1
        held = [(row_id, score) for row_id, score in one.rows if row_id in logged][:share]
        found += [CarryingRow(one.check, one.column, one.measure, score, **logged[row_id]) for row_id, score in held]
    return found[:limit]


def _logged(connection: Connection, model_id: int, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    query = select(predictions, labels.c.label).select_from(
        predictions.join(labels, labels.c.prediction_id == predictions.c.id, isouter=True)
    )
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, len(ids), IDS_PER_QUERY):
        keys = [prediction_key(model_id, one) for one in ids[first : first + IDS_PER_QUERY]]
        for row in connection.execute(query.where(predictions.c.id.in_(keys))):
            found[public_id(row.id)] = {
                "prediction_id": public_id(row.id),
                "logged_at": moment(row.logged_at),
                "model_version": row.model_version,
                "features": orjson.loads(row.features),
                "prediction": row.prediction,
                "probabilities": orjson.loads(row.probabilities),
                "label": row.label,
            }
    return found
