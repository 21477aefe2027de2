"""What the windows of a model have shown, and the alarms that were made of it; nothing here is ever overwritten."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.own_references import OwnReferences
from api.prediction_log.records import SOLE_MODEL, LoggedRow, WindowStatus, WindowValue
from api.prediction_log.tables import alarm_versions, models, window_statistics, windows

MAX_WINDOWS = 12_000
"""Windows whose statistics are kept: six weeks at five minutes, more than a year at an hour."""


class AlarmAction(StrEnum):
    """How a version of the alarms came about."""

    LEARNED = "learned"
    CALIBRATED = "calibrated"
    UNDONE = "undone"
    THRESHOLD = "threshold"
    """A person set a threshold, or took it back."""
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class AlarmVersion:
    """The alarms of a version of the model, as JSON, from a moment on; None: those of the artifact.

    Windows are measured against the reference with ``reference_id``; None: that of the artifact.
    """

    id: int
    made_at: datetime
    model_version: str
    action: AlarmAction
    content: str | None
    overrides: list[dict[str, Any]] = field(default_factory=list)
    """The thresholds that people set, as the log holds them."""
    reference_id: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """A posted window and what its snapshot measured, by name and column."""

    start: datetime
    end: datetime
    rows: int
    labelled_rows: int
    values: dict[tuple[str, str], float]
    reference_id: int | None = None
    """The reference that it was measured against; None: that of the artifact."""


class AlarmLog:
    """The alarms and measured windows of one model. Raises LogUnavailable."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self.database = database
        self.model_id = model_id

    def newest(self, model_version: str, *, learned: bool = False) -> AlarmVersion | None:
        """Return the alarms that hold for a version of the model; None where those of the artifact always did.

        With ``learned``, versions that differ only in what people set are left out.
        """
        query = select(alarm_versions).where(self._held_by(model_version))
        if learned:
            query = query.where(alarm_versions.c.action != AlarmAction.THRESHOLD)
        with self.database.reading() as connection:
            row = connection.execute(query.order_by(alarm_versions.c.id.desc()).limit(1)).first()
        return None if row is None else _version_of(row)

    def versions(self, model_version: str) -> list[AlarmVersion]:
        """Return all that ever held for a version of the model, oldest first."""
        query = select(alarm_versions).where(self._held_by(model_version))
        with self.database.reading() as connection:
            return [_version_of(row) for row in connection.execute(query.order_by(alarm_versions.c.id))]

    def add(
        self, model_version: str, action: AlarmAction, content: str | None, reference_id: int | None = None
    ) -> AlarmVersion:
        """Let these alarms hold from now on, with the reference that they go with, and return their version."""
        with self.database.writing() as connection:
            before = self.newest_in(connection, model_version)
            overrides = [] if before is None else before.overrides
            return self.add_in(
                connection, model_version, action, content, overrides=overrides, reference_id=reference_id
            )

    def add_with_reference(
        self,
        model_version: str,
        content: str,
        span: tuple[datetime, datetime],
        rows: Sequence[LoggedRow],
        thresholds: str,
    ) -> AlarmVersion:
        """Let a new reference hold from now on, drawn from this span, with the alarms calibrated against it."""
        with self.database.writing() as connection:
            before = self.newest_in(connection, model_version)
            overrides = [] if before is None else before.overrides
            references = OwnReferences(self.database, self.model_id)
            added = references.add_in(connection, model_version, span, rows, thresholds)
            calibrated = AlarmAction.CALIBRATED
            return self.add_in(connection, model_version, calibrated, content, overrides=overrides, reference_id=added)

    def add_in(
        self,
        connection: Connection,
        model_version: str,
        action: AlarmAction,
        content: str | None,
        *,
        overrides: list[dict[str, Any]],
        reference_id: int | None = None,
    ) -> AlarmVersion:
        """Let these alarms hold from now on, with their reference, and these thresholds of people beside them."""
        now = self.database.now(connection)
        row = {
            "made_at": now,
            "model_version": model_version,
            "action": action.value,
            "content": content if reference_id is None else None,
            "content_by_reference": None if reference_id is None else content,
            "overrides": overrides,
            "model_id": self.model_id,
            "reference_id": reference_id,
        }
        added = connection.execute(insert(alarm_versions).values(row).returning(alarm_versions.c.id)).scalar_one()
        return AlarmVersion(added, moment(now), model_version, action, content, overrides, reference_id)

    def newest_in(self, connection: Connection, model_version: str) -> AlarmVersion | None:
        """Return the newest alarms, and let nobody else add some until the transaction ends."""
        connection.execute(select(models.c.id).where(models.c.id == self.model_id).with_for_update())
        query = select(alarm_versions).where(self._held_by(model_version)).order_by(alarm_versions.c.id.desc())
        row = connection.execute(query.limit(1)).first()
        return None if row is None else _version_of(row)

    def undo(self, model_version: str) -> AlarmVersion | None:
        """Let the alarms hold that held before the newest; None where there is nothing to take back."""
        held: list[tuple[str | None, int | None]] = [(None, None)]
        for version in self.versions(model_version):
            if version.action is AlarmAction.THRESHOLD:
                continue  # what people set beside the alarms stays
            if version.action is AlarmAction.UNDONE:
                held.pop()
            elif version.action is AlarmAction.RESTARTED:
                held = [(None, None)]
            else:
                held.append((version.content, version.reference_id))
        if len(held) == 1:
            return None
        return self.add(model_version, AlarmAction.UNDONE, *held[-2])

    def learned_span(self, model_version: str, since: datetime | None) -> tuple[datetime, datetime] | None:
        """Return the first start and the last end of the measured windows since then; None where there are none."""
        known = windows.join(window_statistics, _of_window())
        query = select(func.min(windows.c.start), func.max(windows.c.end)).select_from(known)
        query = query.where(self._measured_by(model_version))
        if since is not None:
            query = query.where(windows.c.start >= microseconds(since))
        with self.database.reading() as connection:
            first, last = connection.execute(query).one()
        return None if first is None else (moment(first), moment(last))

    def starts(
        self, model_version: str, start: datetime, end: datetime, reference_id: int | None = None
    ) -> list[datetime]:
        """Return when the windows in [start, end) start that were measured against a reference, oldest first."""
        query = select(windows.c.start).join(window_statistics, _of_window()).outerjoin(alarm_versions, _JUDGED_BY)
        query = query.where(self._measured_by(model_version))
        query = query.where(alarm_versions.c.reference_id.is_not_distinct_from(reference_id))
        query = query.where(windows.c.status == WindowStatus.POSTED, windows.c.end <= microseconds(end))
        query = query.where(windows.c.start >= microseconds(start)).order_by(windows.c.start)
        with self.database.reading() as connection:
            return [moment(start) for start in connection.execute(query).scalars()]

    def measured(
        self, model_version: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[MeasuredWindow]:
        """Return the measured windows of a version of the model that lie in [start, end), oldest first."""
        query = (
            select(
                windows.c.start,
                windows.c.end,
                windows.c.rows,
                windows.c.labelled_rows,
                window_statistics.c.content,
                alarm_versions.c.reference_id,
            )
            .join(window_statistics, _of_window())
            .outerjoin(alarm_versions, _JUDGED_BY)
            .where(self._measured_by(model_version), windows.c.status == WindowStatus.POSTED)
        )
        if start is not None:
            query = query.where(windows.c.start >= microseconds(start))
        if end is not None:
            query = query.where(windows.c.end <= microseconds(end))
        with self.database.reading() as connection:
            return [
                MeasuredWindow(
                    moment(row.start),
                    moment(row.end),
                    row.rows or 0,
                    row.labelled_rows or 0,
                    _unpacked(row.content),
                    row.reference_id,
                )
                for row in connection.execute(query.order_by(windows.c.start))
            ]

    def _held_by(self, model_version: str) -> ColumnElement[bool]:
        return and_(alarm_versions.c.model_id == self.model_id, alarm_versions.c.model_version == model_version)

    def _measured_by(self, model_version: str) -> ColumnElement[bool]:
        return and_(window_statistics.c.model_id == self.model_id, window_statistics.c.model_version == model_version)


def record_statistics(
    connection: Connection,
    start: int,
    model_version: str,
    values: Iterable[WindowValue],
    model_id: int = SOLE_MODEL,
) -> None:
    """Keep what a window's snapshot measured, and delete that of the model's oldest windows above `MAX_WINDOWS`."""
    ours, kept = window_statistics.c.model_id == model_id, window_statistics.c.start
    connection.execute(delete(window_statistics).where(ours, kept == start))
    packed = zlib.compress(json.dumps([[one.name, one.column, one.value] for one in values]).encode())
    row = {"model_id": model_id, "start": start, "model_version": model_version, "content": packed}
    connection.execute(insert(window_statistics).values(row))
    starts = select(kept).where(ours).order_by(kept.desc())
    oldest = connection.execute(starts.offset(MAX_WINDOWS).limit(1)).scalar()
    if oldest is not None:
        connection.execute(delete(window_statistics).where(ours, kept <= oldest))


_JUDGED_BY = windows.c.alarms_version == alarm_versions.c.id


def _of_window() -> ColumnElement[bool]:
    """Whether statistics belong to a window."""
    return and_(window_statistics.c.model_id == windows.c.model_id, window_statistics.c.start == windows.c.start)


def _unpacked(content: bytes) -> dict[tuple[str, str], float]:
    return {(name, column): value for name, column, value in json.loads(zlib.decompress(content))}


def _version_of(row: Row[Any]) -> AlarmVersion:
    content = row.content if row.reference_id is None else row.content_by_reference
    known = (row.id, moment(row.made_at), row.model_version, AlarmAction(row.action))
    return AlarmVersion(*known, content, row.overrides or [], row.reference_id)
