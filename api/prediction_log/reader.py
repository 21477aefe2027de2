"""Reads of the log: the rows of a window, its rows by version, and the progress of the snapshots."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, case, func, null, select, true

from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import LoggedRow, WindowStatus
from api.prediction_log.tables import labels, predictions, rejections, windows
from api.prediction_log.windows import next_boundary, open_since, unfinished

SAMPLE_KEYS = 2**31


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of one window: ``total`` are of this model version, ``rows`` are all of them or a random sample of them.

    ``other_versions`` counts the rows that other versions of the model made; they are not read.
    """

    total: int
    rows: list[LoggedRow]
    other_versions: int

    @property
    def fraction(self) -> float:
        """The share of the window's rows that were read."""
        return len(self.rows) / self.total if self.total else 1.0


def read_predictions(
    database: Database, start: datetime, end: datetime, model_version: str, max_rows: int
) -> WindowRows:
    """Read what the model predicted in [start, end), at most about ``max_rows`` rows of it."""
    inside = (predictions.c.logged_at >= microseconds(start)) & (predictions.c.logged_at < microseconds(end))
    query = select(predictions.c.features, predictions.c.prediction, predictions.c.probabilities, null().label("label"))
    return _read(database, query.where(inside), predictions.c.logged_at, model_version, max_rows)


def read_labelled(database: Database, start: datetime, end: datetime, model_version: str, max_rows: int) -> WindowRows:
    """Read the predictions whose label arrived in [start, end), whenever they were made."""
    inside = (labels.c.arrived_at >= microseconds(start)) & (labels.c.arrived_at < microseconds(end))
    query = select(
        predictions.c.features, predictions.c.prediction, predictions.c.probabilities, labels.c.label
    ).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
    return _read(database, query.where(inside), labels.c.arrived_at, model_version, max_rows)


def read_rejections(database: Database, start: datetime, end: datetime) -> dict[str, int]:
    """Return how many requests were refused in [start, end), by reason."""
    inside = (rejections.c.logged_at >= microseconds(start)) & (rejections.c.logged_at < microseconds(end))
    query = select(rejections.c.reason, func.sum(rejections.c.requests).label("requests")).where(inside)
    with database.reading() as connection:
        return {row.reason: int(row.requests) for row in connection.execute(query.group_by(rejections.c.reason))}


def _read(
    database: Database, query: Select[Any], by_time: ColumnElement[int], model_version: str, max_rows: int
) -> WindowRows:
    ours = predictions.c.model_version == model_version
    counted = query.with_only_columns(
        func.count().label("everything"),
        func.count(case((ours, 1))).label("ours"),
        maintain_column_froms=True,
    )
    with database.reading() as connection:
        count = connection.execute(counted).one()
        sampled = query.where(ours, _sampled(count.ours, max_rows)).order_by(by_time, predictions.c.sample_key)
        loads = orjson.loads
        rows = [
            LoggedRow(loads(features), prediction, loads(probabilities), label)
            for features, prediction, probabilities, label in connection.execute(sampled)
        ]
    return WindowRows(count.ours, rows, count.everything - count.ours)


def _sampled(total: int, max_rows: int) -> ColumnElement[bool]:
    """Keep a row where its key is below the bound that leaves about ``max_rows`` of ``total``."""
    if total <= max_rows:
        return true()
    return predictions.c.sample_key < int(SAMPLE_KEYS * max_rows / total)


@dataclass(frozen=True, slots=True)
class VersionCount:
    """What a window has of one version: the rows that it predicted, and the labels that arrived for its rows."""

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


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """The progress of the snapshots.

    ``waiting`` counts windows that have ended and are not posted yet; ``behind`` is how long ago the oldest of them
    ended, by the database's clock, or the open window should have ended. ``posted_at`` (seconds since the epoch) and
    ``duration_seconds`` are those of the newest posted window, None where there is none. ``ahead`` is how far the
    closed windows lie in the clock's future.
    """

    waiting: int
    behind: timedelta
    posted_at: float | None
    duration_seconds: float | None
    ahead: timedelta = timedelta(0)


def read_progress(database: Database, interval: timedelta | None = None) -> SnapshotProgress:
    """Read the progress of windows that last for the ``interval``. Raises LogUnavailable."""
    with database.reading() as connection:
        waiting, oldest_end = connection.execute(
            select(func.count(), func.min(windows.c.end)).where(unfinished())
        ).one()
        posted = connection.execute(
            select(windows.c.finished_at, windows.c.duration_seconds)
            .where(windows.c.status == WindowStatus.POSTED)
            .order_by(windows.c.start.desc())
            .limit(1)
        ).first()
        now = database.now(connection)
        ends = [] if oldest_end is None else [int(oldest_end)]
        if interval is not None:
            step = interval // timedelta(microseconds=1)
            start = open_since(connection, step)
            ends += [] if start is None else [next_boundary(start, step)]
        closed_until = connection.execute(select(func.max(windows.c.end))).scalar_one() or 0
    return SnapshotProgress(
        waiting,
        timedelta(microseconds=max(0, now - min(ends, default=now))),
        None if posted is None or posted.finished_at is None else posted.finished_at / 1_000_000,
        None if posted is None else posted.duration_seconds,
        timedelta(microseconds=max(0, closed_until - now)),
    )
