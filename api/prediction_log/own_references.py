"""References of a model that are a sample of its own logged rows: stored, read, and freed of rows that were erased."""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from api.prediction_log.changed_rows import held_ids
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.records import SOLE_MODEL, LoggedRow
from api.prediction_log.tables import own_references
from model.artifact.traffic import OwnReference

MAX_REFERENCES = 5
"""Of one model: as many can be taken back, one after the other."""


class StoredReference(NamedTuple):
    """What is known of a reference without its rows; ``thresholds`` are those of its drift, as JSON."""

    about: OwnReference
    thresholds: str


class OwnReferences:
    """The references of one model. Raises LogUnavailable."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._model_id = model_id

    def find(self, reference_id: int) -> StoredReference | None:
        """Return a reference; None where it is there no more."""
        columns = own_references.c
        query = select(
            columns.id,
            columns.made_at,
            columns.start,
            columns.end,
            columns.rows,
            columns.labelled_rows,
            columns.thresholds,
        ).where(columns.model_id == self._model_id, columns.id == reference_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        times = (moment(row.made_at), moment(row.start), moment(row.end))
        return StoredReference(OwnReference(row.id, *times, row.rows, row.labelled_rows), row.thresholds)

    def rows(self, reference_id: int) -> list[LoggedRow]:
        """Return the rows of a reference, with their labels where these were known; none where it is gone."""
        query = select(own_references.c.content).where(
            own_references.c.model_id == self._model_id, own_references.c.id == reference_id
        )
        with self._database.reading() as connection:
            content = connection.execute(query).scalar()
        return [] if content is None else _unpacked(content)

    def add_in(
        self,
        connection: Connection,
        model_version: str,
        span: tuple[datetime, datetime],
        rows: Sequence[LoggedRow],
        thresholds: str,
    ) -> int:
        """Store the rows that are still in the log, remove the model's oldest references, and return the new one's id.

        A row that was erased since it was read is left out, and none can be erased before the transaction ends.
        """
        held = held_ids(connection, self._model_id, sorted(row.prediction_id for row in rows), locked=True)
        kept = [row for row in rows if row.prediction_id in held]
        start, end = span
        row = {
            "model_id": self._model_id,
            "model_version": model_version,
            "made_at": self._database.now(connection),
            "start": microseconds(start),
            "end": microseconds(end),
            "thresholds": thresholds,
            **_contents(kept),
        }
        added: int = connection.execute(insert(own_references).values(row).returning(own_references.c.id)).scalar_one()
        ours = own_references.c.model_id == self._model_id
        ids = select(own_references.c.id).where(ours).order_by(own_references.c.id.desc())
        oldest = connection.execute(ids.offset(MAX_REFERENCES).limit(1)).scalar()
        if oldest is not None:
            connection.execute(delete(own_references).where(ours, own_references.c.id <= oldest))
        return added

    def forget(self, ids: Collection[str]) -> set[str]:
        """Take the rows with these ids out of the references, and return the ids that were in any."""
        found: set[str] = set()
        with self._database.reading() as connection:
            query = select(own_references.c.id).where(own_references.c.model_id == self._model_id)
            references = connection.execute(query).scalars().all()
        for reference_id in references:
            found |= self._forget_in(reference_id, set(ids))
        return found

    def _forget_in(self, reference_id: int, ids: set[str]) -> set[str]:
        one = own_references.c.id == reference_id
        with self._database.writing() as connection:
            content = connection.execute(select(own_references.c.content).where(one).with_for_update()).scalar()
            rows = [] if content is None else _unpacked(content)
            found = ids & {row.prediction_id for row in rows}
            if found:
                left = [row for row in rows if row.prediction_id not in found]
                connection.execute(update(own_references).where(one).values(_contents(left)))
        return found


def _contents(rows: Sequence[LoggedRow]) -> dict[str, object]:
    return {
        "rows": len(rows),
        "labelled_rows": sum(row.label is not None for row in rows),
        "content": zlib.compress(orjson.dumps([astuple(row) for row in rows])),
    }


def _unpacked(content: bytes) -> list[LoggedRow]:
    return [LoggedRow(*row) for row in orjson.loads(zlib.decompress(content))]
