"""The points of a dashboard's panel, with the panel's filter in SQL, and no more of them than a browser draws at once.

Evidently reads every point of the project for each panel, and each snapshot's metadata once a point: after a year at
a five-minute interval that is three seconds a panel. Leans on Evidently's tables and on what its `get_data_series`
answers; a test compares the two, answer by answer.
"""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from evidently.ui.service.base import SeriesFilter, SeriesResponse
from evidently.ui.service.storage.sql.data import SQLDataStorage
from evidently.ui.service.storage.sql.models import PointSQLModel, SnapshotSQLModel
from sqlalchemy import ColumnElement, Engine, String, cast, select, type_coerce
from sqlalchemy.orm import Session

ANY_METRIC = "*"
FAILED_CHECKS = "failed_checks"
"""The metadata of a snapshot under which ours name its failed checks; empty when there are none."""


SNAPSHOTS, POINTS = SnapshotSQLModel.__table__, PointSQLModel.__table__
Source = dict[str, Any]
Point = tuple[str, str, float]
Points = dict[Hashable, list[Point]]


class _Line(NamedTuple):
    """What a point belongs to: its series, and the first filter of the panel that wants it (None: no filter)."""

    name: str
    params: dict[str, str]
    filter_index: int | None


_Shown = tuple[Source, list[tuple[_Line, Point]]]


class ReadySeriesResponse(SeriesResponse):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's answer of plain values; to validate and copy each of its thousands of parts is most of the work."""

    def dict(self, **_: object) -> dict[str, Any]:
        """Return the parts as they are."""
        return {"sources": self.sources, "series": self.series}


class FilteredDataStorage(SQLDataStorage):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's storage of points, which reads for a panel only the points that the panel can show.

    Of more than `panel_points` snapshots a panel gets that many, see `thinned` (0: all).
    """

    def __init__(self, engine: Engine, panel_points: int = 0) -> None:
        super().__init__(engine)
        self._panel_points = panel_points

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
        sources, series = _collect(snapshots, points, series_filter, self._panel_points)
        return ReadySeriesResponse.construct(sources=sources, series=series)


def _snapshots(
    session: Session, project_id: UUID, limits: Sequence[ColumnElement[bool]]
) -> list[tuple[Hashable, Source]]:
    """Return the snapshots, oldest first, each with its id as the database has it."""
    read = (cast(SNAPSHOTS.c.tags, String), cast(SNAPSHOTS.c.metadata_json, String))
    query = select(type_coerce(SNAPSHOTS.c.id, String), SNAPSHOTS.c.id, SNAPSHOTS.c.timestamp, *read)
    query = query.where(SNAPSHOTS.c.project_id == project_id, *limits).order_by(SNAPSHOTS.c.timestamp, SNAPSHOTS.c.id)
    return [
        (key, {"snapshot_id": id_, "timestamp": time, "tags": _parsed(tags), "metadata": _parsed(metadata)})
        for key, id_, time, tags, metadata in session.execute(query)
    ]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """Return what the JSON says, to be read only: all panels of a dashboard ask for the same snapshots."""
    return json.loads(text)


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
    snapshots: Sequence[tuple[Hashable, Source]], points: Points, filters: Sequence[SeriesFilter], most: int
) -> tuple[list[Source], list[dict[str, Any]]]:
    sources: list[Source] = []
    series: dict[str, dict[str, Any]] = {}

    @cache
    def line_of(metric: str, text: str, admitted: tuple[int, ...]) -> _Line | None:
        return _line(metric, text, [(index, filters[index]) for index in admitted])

    found: list[_Shown] = []
    for key, snapshot in snapshots:
        admitted = tuple(index for index, wanted in enumerate(filters) if _admits(wanted, snapshot))
        lines = [(line_of(point[0], point[1], admitted), point) for point in points.get(key, ())]
        if shown := [(line, point) for line, point in lines if line is not None]:
            found.append((snapshot, shown))
    for index, (snapshot, shown) in enumerate(thinned(found, most)):
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


def thinned(shown: Sequence[_Shown], most: int) -> list[_Shown]:
    """Return at most `most` of the snapshots, which are oldest first; all of them where `most` is 0.

    A browser draws each point of each line as an element of its own. The newest two fifths of `most` are all shown. The
    others stand in groups of equal number for the rest, each group by its newest snapshot with failed checks, else by
    its newest; the very first snapshot is always there, so that the chart begins where the data do.
    """
    if most <= 0 or len(shown) <= most:
        return list(shown)
    newest = 2 * most // 5
    groups = most - newest - 1
    first, older, recent = shown[0], shown[1 : len(shown) - newest], shown[len(shown) - newest :]
    edges = [len(older) * group // groups for group in range(groups + 1)]
    chosen = [_foremost(older[start:end]) for start, end in pairwise(edges)]
    return [first, *chosen, *recent]


def _foremost(group: Sequence[_Shown]) -> _Shown:
    return next((one for one in reversed(group) if one[0]["metadata"].get(FAILED_CHECKS)), group[-1])


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
