"""Owns the statements that put a group of predictions into the log.

SQLAlchemy's own insert of many rows costs several times what the database does with them, and on SQLite gives the
interpreter away and takes it back for each row. Here a statement carries many rows: 64 on SQLite, all on PostgreSQL.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache

from sqlalchemy import Connection

from api.prediction_log.records import PredictionRecord

COLUMNS = (*PredictionRecord._fields, "logged_at")
TYPES = ("text", "int", "text", "text", "text", "text")
MOST_ROWS = 64
"""More rows in one statement were not quicker (tried: 512 and 4,096)."""


def insert_predictions(
    connection: Connection | sqlite3.Connection, stamp: int, records: Sequence[PredictionRecord]
) -> None:
    """Log the records under the stamp, in microseconds since the epoch. Raises the connection's own errors."""
    if not records:
        return
    if isinstance(connection, sqlite3.Connection):
        for statement, values in _statements(stamp, records):
            connection.execute(statement, values)
    elif connection.dialect.name == "postgresql":
        columns = [list(column) for column in zip(*records, strict=True)]
        connection.exec_driver_sql(_from_arrays(), (*columns, stamp))
    else:
        for statement, values in _statements(stamp, records):
            connection.exec_driver_sql(statement, tuple(values))


def _statements(stamp: int, records: Sequence[PredictionRecord]) -> Iterator[tuple[str, list[str | int]]]:
    """Yield statements for powers of two of rows: these are few, and the driver keeps them prepared."""
    first, size = 0, MOST_ROWS
    while first < len(records):
        while size > len(records) - first:
            size //= 2
        values: list[str | int] = []
        for record in records[first : first + size]:
            values += record
            values.append(stamp)
        yield _with_values(size), values
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
