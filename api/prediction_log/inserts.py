"""The statements that write predictions and labels in groups."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from api.errors import IdInUse, LogUnavailable
from api.prediction_log.database import PostgresWrite
from api.prediction_log.layouts import LayoutsInUse
from api.prediction_log.records import LabelReceipt, LabelRecord, PredictionRecord, public_id
from api.prediction_log.tables import labels, predictions

COLUMNS = (*PredictionRecord._fields, "logged_at")
TYPES = ("varchar", "int4", "varchar", "text", "text", "text", "int4", "int4", "int8")
MAX_ROWS = 64
"""Rows in one statement; more of them were not faster (tried: 512 and 4,096)."""


def insert_predictions(
    connection: Connection | sqlite3.Connection | PostgresWrite,
    stamps: Mapping[int, int],
    records: Sequence[PredictionRecord],
) -> None:
    """Log the records, each under the stamp of its model. Raises the connection's own errors."""
    if not records:
        return
    if isinstance(connection, sqlite3.Connection):
        for statement, values in _statements(stamps, records):
            connection.execute(statement, values)
    elif isinstance(connection, PostgresWrite):
        _copy(connection.driver, stamps, records)
    elif connection.dialect.name == "postgresql":
        driver, dbapi = connection.connection.driver_connection, connection.dialect.loaded_dbapi
        try:
            _copy(driver, stamps, records)
        except dbapi.Error as error:  # as SQLAlchemy raises those of other statements
            raise DBAPIError.instance(_from_copy(), None, error, dbapi.Error) from error
    else:
        for statement, values in _statements(stamps, records):
            connection.exec_driver_sql(statement, tuple(values))


def _copy(driver: Any, stamps: Mapping[int, int], records: Sequence[PredictionRecord]) -> None:
    """Send all rows in one binary COPY: of a row in 10,000 it takes a fifth of the time that arrays of texts take."""
    with driver.cursor() as cursor, cursor.copy(_from_copy()) as copy:
        copy.set_types(TYPES)
        for record in records:
            copy.write_row((*record, stamps[record.model_id]))


def _statements(
    stamps: Mapping[int, int], records: Sequence[PredictionRecord]
) -> Iterator[tuple[str, list[str | int | None]]]:
    """Yield statements for powers of two of rows: these are few, and the driver keeps them prepared."""
    first, size = 0, MAX_ROWS
    while first < len(records):
        while size > len(records) - first:
            size //= 2
        values: list[str | int | None] = []
        for record in records[first : first + size]:
            values += record
            values.append(stamps[record.model_id])
        yield _with_values(size), values
        first += size


@cache
def _with_values(rows: int) -> str:
    row = f"({', '.join('?' * len(COLUMNS))})"
    return f"INSERT INTO predictions ({_names()}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - our own names


@cache
def _from_copy() -> str:
    return f"COPY predictions ({_names()}) FROM STDIN (FORMAT BINARY)"


def _names() -> str:
    return ", ".join("id" if name == "prediction_id" else name for name in COLUMNS)


IDS_PER_QUERY = 500
MAX_RACES = 20
"""How often another process may be first with one of the ids before the caller is asked to try again."""

Same = Callable[[PredictionRecord, PredictionRecord], bool]
"""Whether a logged prediction and one with the same id that is to be logged are of the same row."""
Repeats = dict[str, PredictionRecord]
"""The predictions that were logged before, by key."""


def insert_own(
    connection: Connection, stamps: Mapping[int, int], groups: Sequence[tuple[Sequence[PredictionRecord], Same]]
) -> list[Repeats | IdInUse]:
    """Log predictions whose ids their callers chose: of each group all that are new, or none where an id is in use.

    The database decides which of two processes is first. Raises LogUnavailable.
    """
    keys = [record.prediction_id for records, _ in groups for record in records]
    for _ in range(MAX_RACES):
        outcomes, new = _compared(groups, find_predictions(connection, keys), LayoutsInUse(connection))
        new.sort()  # two processes wait for each other's ids in the same order, never in a circle
        try:
            with connection.begin_nested():
                insert_predictions(connection, stamps, new)
        except IntegrityError:
            continue  # another process was first with one of the ids, which can be read now
        return outcomes
    raise LogUnavailable("others log predictions with the same ids all the time; try again shortly")


def _compared(
    groups: Sequence[tuple[Sequence[PredictionRecord], Same]], logged: Repeats, layouts: LayoutsInUse
) -> tuple[list[Repeats | IdInUse], list[PredictionRecord]]:
    """Return the outcome of each group, and the predictions that are new."""
    known, outcomes = dict(logged), list[Repeats | IdInUse]()
    for records, same in groups:
        repeats = {key: layouts.by_name(known[key]) for key, *_ in records if key in known}
        again = [layouts.by_name(one) for one in records if one.prediction_id in repeats]
        other = next((one for one in again if not same(repeats[one.prediction_id], one)), None)
        if other is not None:
            said = f"the prediction_id {public_id(other.prediction_id)!r} belongs to another row that was sent before"
            outcomes.append(IdInUse(f"{said}; send that row again, or this one with an id of its own"))
            continue
        known |= {one.prediction_id: one for one in records if one.prediction_id not in known}
        outcomes.append(repeats)
    return outcomes, [record for key, record in known.items() if key not in logged]


def same_row(logged: PredictionRecord, sent: PredictionRecord) -> bool:
    """Return whether both are predictions of the same row, whatever the model made of it."""
    return logged.features == sent.features or _meaning(logged.features) == _meaning(sent.features)


def _meaning(features: str) -> dict[str, tuple[bool, object]]:
    """Return the values by name: what is missing is the same as null, 1 the same as 1.0, and neither is true."""
    return {name: (isinstance(cell, bool), cell) for name, cell in json.loads(features).items() if cell is not None}


def find_predictions(connection: Connection, keys: Sequence[str]) -> Repeats:
    """Return those of the predictions that are logged, by key, as they are without a layout."""
    columns = [predictions.c["id" if name == "prediction_id" else name] for name in PredictionRecord._fields]
    layouts, found = LayoutsInUse(connection), Repeats()
    for first in range(0, len(keys), IDS_PER_QUERY):
        query = select(*columns).where(predictions.c.id.in_(keys[first : first + IDS_PER_QUERY]))
        found |= {row[0]: layouts.by_name(PredictionRecord(*row)) for row in connection.execute(query).all()}
    return found


def store_labels(connection: Connection, stamps: Mapping[int, int], records: Sequence[LabelRecord]) -> LabelReceipt:
    """Store the labels whose prediction is known, each under its model's stamp; of an id's labels the last one counts.

    A label that repeats the stored one changes nothing, so that its time of arrival stays the same.
    """
    newest = {record.prediction_id: record.label for record in records}
    known = _models_of(connection, list(newest))
    rows = [
        {"prediction_id": key, "label": newest[key], "arrived_at": stamps[model_id], "model_id": model_id}
        for key, model_id in known.items()
    ]
    if rows:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        statement = insert(labels)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[labels.c.prediction_id],
                set_={"label": statement.excluded.label, "arrived_at": statement.excluded.arrived_at},
                where=labels.c.label != statement.excluded.label,
            ),
            rows,
        )
    accepted = sum(record.prediction_id in known for record in records)
    return LabelReceipt(accepted, tuple(prediction_id for prediction_id in newest if prediction_id not in known))


def _models_of(connection: Connection, ids: list[str]) -> dict[str, int]:
    """Return the model of each prediction that is known."""
    known: dict[str, int] = {}
    for first in range(0, len(ids), IDS_PER_QUERY):
        chunk = ids[first : first + IDS_PER_QUERY]
        query = select(predictions.c.id, predictions.c.model_id).where(predictions.c.id.in_(chunk))
        # otherwise one of them could expire before its label is stored, and fail all requests of this commit
        found = connection.execute(query.with_for_update(read=True, key_share=True))
        known.update({row.id: row.model_id for row in found})
    return known
