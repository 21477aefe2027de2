"""Owns the statements that put a group of predictions into the log.

SQLAlchemy's own insert of many rows costs several times what the database does with them, and on SQLite gives the
interpreter away and takes it back for each row. Here a statement carries many rows: 64 on SQLite, all on PostgreSQL.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Connection

from api.prediction_log.records import PredictionRecord

COLUMNS = (*PredictionRecord._fields, "logged_at")
TYPES = ("text", "int", "text", "text", "text", "text")
MOST_ROWS = 64
"""More rows in one statement were not quicker (tried: 512 and 4,096)."""


def insert_predictions(connection: Connection, stamp: int, records: Sequence[PredictionRecord]) -> None:
    """Log the records under the stamp, in microseconds since the epoch. Raises SQLAlchemyError."""
    if not records:
        return
    if connection.dialect.name == "postgresql":
        columns = [list(column) for column in zip(*records, strict=True)]
        connection.exec_driver_sql(_from_arrays(), (*columns, stamp))
        return
    first, size = 0, MOST_ROWS
    while first < len(records):
        while size > len(records) - first:
            size //= 2  # powers of two: few statements, which the driver keeps prepared
        values: list[str | int] = []
        for record in records[first : first + size]:
            values += record
            values.append(stamp)
        connection.exec_driver_sql(_with_values(size), tuple(values))
        first += size


@cache
def _with_values(rows: int) -> str:
    row = f"({', '.join('?' * len(COLUMNS))})"
    return f"INSERT INTO predictions ({_names()}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - our own names


@cache
def _from_arrays() -> str:
    arrays = ", ".join(f"unnest(%s::{kind}[])" for kind in TYPES)
    return f"INSERT INTO predictions ({_names()}) SELECT {arrays}, %s::bigint"


def _names() -> str:
    return ", ".join("id" if name == "prediction_id" else name for name in COLUMNS)
