"""The points of a dashboard's panel, with the panel's filter in SQL. Gives what Evidently's own storage gives.

Evidently reads every point of the project for each panel, and each snapshot's metadata once a point: after a year at
a five-minute interval that is three seconds a panel. Leans on Evidently's tables and on what its `get_data_series`
answers; a test compares the two, answer by answer.
"""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from evidently.ui.service.base import SeriesFilter, SeriesResponse
from evidently.ui.service.storage.sql.data import SQLDataStorage
from evidently.ui.service.storage.sql.models import PointSQLModel, SnapshotSQLModel
from sqlalchemy import ColumnElement, String, cast, select, type_coerce
from sqlalchemy.orm import Session

ANY_METRIC = "*"


SNAPSHOTS, POINTS = SnapshotSQLModel.__table__, PointSQLModel.__table__
SOURCE_COLUMNS = ("id", "timestamp", "tags", "metadata_json")
SOURCE_NAMES = ("snapshot_id", "timestamp", "tags", "metadata")
Source = dict[str, Any]
Points = dict[Hashable, list[tuple[str, str, float]]]


class _Line(NamedTuple):
    """What a point belongs to: its series, and the first filter of the panel that wants it (None: no filter)."""

    name: str
    params: dict[str, str]
    filter_index: int | None


class ReadySeriesResponse(SeriesResponse):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's answer of plain values; to validate and copy each of its thousands of parts is most of the work."""

    def dict(self, **_: object) -> dict[str, Any]:
        """Return the parts as they are."""
        return {"sources": self.sources, "series": self.series}


class FilteredDataStorage(SQLDataStorage):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's storage of points, which reads for a panel only the points that the panel can show."""

    async def get_data_series(
        self,
        project_id: UUID,
        series_filter: list[SeriesFilter],
        start_time: datetime | None,
        end_time: datetime | None,
    ) -> SeriesResponse:
        """Return the series that the filters select, and the snapshots they come from, oldest first."""
        limits = [SNAPSHOTS.c.timestamp >= start_time] if start_time is not None else []
        limits += [SNAPSHOTS.c.timestamp <= end_time] if end_time is not None else []
        with self.session as session:
            snapshots = _snapshots(session, project_id, limits)
            points = _points(session, project_id, {wanted.metric for wanted in series_filter}, limits)
        sources, series = _collect(snapshots, points, series_filter)
        return ReadySeriesResponse.construct(sources=sources, series=series)


def _snapshots(
    session: Session, project_id: UUID, limits: Sequence[ColumnElement[bool]]
) -> list[tuple[Hashable, Source]]:
    """Return the snapshots, oldest first, each with its id as the database has it."""
    query = select(type_coerce(SNAPSHOTS.c.id, String), *(SNAPSHOTS.c[name] for name in SOURCE_COLUMNS))
    query = query.where(SNAPSHOTS.c.project_id == project_id, *limits).order_by(SNAPSHOTS.c.timestamp, SNAPSHOTS.c.id)
    return [(key, dict(zip(SOURCE_NAMES, row, strict=True))) for key, *row in session.execute(query)]


def _points(session: Session, project_id: UUID, metrics: set[str], limits: Sequence[ColumnElement[bool]]) -> Points:
    """Return (metric, its parameters as JSON, value) of each point of the metrics, by its snapshot's id."""
    # As the database has them: ids are only compared, and the same few parameters come again with each snapshot.
    raw = (type_coerce(POINTS.c.snapshot_id, String), POINTS.c.metric_type, cast(POINTS.c.params, String))
    query = select(*raw, POINTS.c.value).where(POINTS.c.project_id == project_id)
    if ANY_METRIC not in metrics:
        query = query.where(POINTS.c.metric_type.in_(sorted(metrics)))
    if limits:
        query = query.where(POINTS.c.snapshot_id.in_(select(SNAPSHOTS.c.id).where(*limits)))
    found = defaultdict(list)
    for key, metric, text, value in session.execute(query.order_by(POINTS.c.id)):
        found[key].append((metric, text, value))
    return found


def _collect(
    snapshots: Sequence[tuple[Hashable, Source]], points: Points, filters: Sequence[SeriesFilter]
) -> tuple[list[Source], list[dict[str, Any]]]:
    sources: list[Source] = []
    series: dict[str, dict[str, Any]] = {}

    @cache
    def line_of(metric: str, text: str, admitted: tuple[int, ...]) -> _Line | None:
        return _line(metric, text, [(index, filters[index]) for index in admitted])

    for key, snapshot in snapshots:
        admitted = tuple(index for index, wanted in enumerate(filters) if _admits(wanted, snapshot))
        found = points.get(key, ())
        shown = [(line, point) for point in found if (line := line_of(point[0], point[1], admitted)) is not None]
        if not shown:
            continue
        index = len(sources)
        sources.append(snapshot)
        for line, (metric, _, value) in shown:
            if line.filter_index is None:
                continue
            if line.name not in series:
                started = {"metric_type": metric, "filter_index": line.filter_index, "params": line.params}
                series[line.name] = {**started, "values": []}
            values = series[line.name]["values"]
            values.extend([None] * (index - len(values)))
            values.append(value)
    return sources, list(series.values())


def _admits(wanted: SeriesFilter, snapshot: Source) -> bool:
    tagged = set(wanted.tags) <= set(snapshot["tags"])
    return tagged and wanted.metadata.items() <= snapshot["metadata"].items()


def _line(metric: str, text: str, filters: Sequence[tuple[int, SeriesFilter]]) -> _Line | None:
    """Return the line of a point; None where the point has nothing to do with the panel.

    A point of a metric of the panel that no filter selects has no line but counts: its snapshot is a gap in the chart.
    """
    params = {name: value for name, value in (json.loads(text) or {}).items() if value not in (None, "None")}
    named = [(index, wanted) for index, wanted in filters if wanted.metric in {ANY_METRIC, metric}]
    if all(params.items() < wanted.metric_labels.items() for _, wanted in named):
        return None
    index = next((index for index, wanted in named if wanted.metric_labels.items() <= params.items()), None)
    return _Line(f"{metric}:" + ",".join(f"{name}={value}" for name, value in params.items()), params, index)
