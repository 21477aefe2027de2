"""Rows in the log: written as if predicted, where a test is about the log alone, and read again."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from api.prediction_log.database import Database
from api.prediction_log.layouts import LayoutsInUse
from api.prediction_log.records import SOLE_MODEL, LabelRecord, PredictionRecord
from api.prediction_log.tables import metadata
from api.prediction_log.writer import LogWriter
from tests.clocked import ClockedDatabase

Logged = Callable[[str], list[dict[str, Any]]]
"""Returns the rows of one of the log's tables."""


def as_they_are(records: Sequence[PredictionRecord]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
    """Return the records as what is to be logged of them, and an empty answer to each."""
    return records, [b""] * len(records)


def row_by_name(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table of predictions as it is without a layout."""
    layout = LayoutsInUse(connection)[row["layout"]]
    return row | {
        "model_version": layout.version_of(row["model_version"]),
        "features": orjson.dumps(layout.read_features(row["features"])).decode(),
        "probabilities": orjson.dumps(layout.read_probabilities(row["probabilities"])).decode(),
    }


def log_row(
    database: ClockedDatabase, time: datetime, name: str, label: str | None = None, model_id: int = SOLE_MODEL
) -> None:
    """Log one prediction at a time, and its label."""

    async def write() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(name, 0, "v1", "{}", "a", "{}", model_id)])
        if label is not None:
            await writer.log_labels([LabelRecord(name, label)])
        await writer.close()

    database.time = time
    asyncio.run(write())


def reader_of(database_url: str) -> Logged:
    """Return what reads all rows of one of the log's tables; predictions as they are without a layout."""

    def rows(table: str) -> list[dict[str, Any]]:
        database = Database(database_url)
        with database.reading() as connection:
            found = [dict(row._mapping) for row in connection.execute(select(metadata.tables[table]))]
            if table == "predictions":
                found = [row_by_name(connection, row) for row in found]
        database.dispose()
        return found

    return rows
