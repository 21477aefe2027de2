"""Owns how labels are stored: joined to their prediction, the newest one kept."""

from collections.abc import Sequence

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from api.prediction_log.records import LabelReceipt, LabelRecord
from api.prediction_log.tables import labels, predictions

IDS_PER_QUERY = 500


def store_labels(connection: Connection, stamp: int, records: Sequence[LabelRecord]) -> LabelReceipt:
    """Store the labels whose prediction is known; where an id comes twice the last one wins.

    A label that repeats the stored one changes nothing, so that its time of arrival stays the first one.
    """
    newest = {record.prediction_id: record.label for record in records}
    known = _known_ids(connection, list(newest))
    rows = [
        {"prediction_id": prediction_id, "label": label, "arrived_at": stamp}
        for prediction_id, label in newest.items()
        if prediction_id in known
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


def _known_ids(connection: Connection, ids: list[str]) -> set[str]:
    known: set[str] = set()
    for first in range(0, len(ids), IDS_PER_QUERY):
        chunk = ids[first : first + IDS_PER_QUERY]
        query = select(predictions.c.id).where(predictions.c.id.in_(chunk))
        # else one of them could expire before its label is stored, and fail all that share this commit
        known.update(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())
    return known
