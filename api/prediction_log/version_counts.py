"""Owns counting a window by version of the model: whose predictions are in it, and whose labels arrived in it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from api.prediction_log.database import Database, microseconds
from api.prediction_log.tables import labels, predictions


@dataclass(frozen=True, slots=True)
class VersionCount:
    """What a window has of one version: rows that it predicted, and labels that arrived for what it predicted."""

    rows: int
    labels: int


def count_versions(database: Database, start: datetime, end: datetime) -> dict[str, VersionCount]:
    """Count what was logged in [start, end), by version. Raises LogUnavailable."""
    version = predictions.c.model_version
    inside = (predictions.c.logged_at >= microseconds(start)) & (predictions.c.logged_at < microseconds(end))
    arrived = (labels.c.arrived_at >= microseconds(start)) & (labels.c.arrived_at < microseconds(end))
    of_labels = select(version, func.count()).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
    with database.reading() as connection:
        rows = _by_version(connection, select(version, func.count()).where(inside))
        labelled = _by_version(connection, of_labels.where(arrived))
    return {one: VersionCount(rows.get(one, 0), labelled.get(one, 0)) for one in sorted(rows.keys() | labelled.keys())}


def _by_version(connection: Connection, query: Select[Any]) -> dict[str, int]:
    found = connection.execute(query.group_by(predictions.c.model_version))
    return {row[0]: row[1] for row in found}
