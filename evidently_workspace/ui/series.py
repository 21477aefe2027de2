"""The points of a dashboard panel, filtered in SQL, and no more of them than a browser can draw at once."""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from evidently.ui.service.base import SeriesFilter, SeriesResponse
from evidently.ui.service.storage.sql.data import SQLDataStorage
from evidently.ui.service.storage.sql.models import PointSQLModel, SnapshotSQLModel
from sqlalchemy import ColumnElement, Engine, String, cast, func, select, type_coerce
from sqlalchemy.orm import Session

ANY_METRIC = "*"
FAILED_CHECKS = "failed_checks"
"""The key of the failed checks in the metadata of our snapshots; the value is empty when there are none."""
MAX_NAMED = 10_000
"""Databases accept about ten thousand values in one query."""

SNAPSHOTS, POINTS = SnapshotSQLModel.__table__, PointSQLModel.__table__
Source = dict[str, Any]
Point = tuple[str, str, float]
Points = dict[Hashable, list[Point]]
Limit = ColumnElement[bool]
T = TypeVar("T")


class _Line(NamedTuple):
    """The series of a point, and the first filter of the panel that selects it (None: no filter does)."""

    name: str
    params: dict[str, str]
    filter_index: int | None


_Shown = tuple[Source, list[tuple[_Line, Point]]]


class ReadySeriesResponse(SeriesResponse):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's answer, made without validating and copying its thousands of parts, which is most of the work."""

    def dict(self, **_: object) -> dict[str, Any]:
        """Return the parts as they are."""
        return {"sources": self.sources, "series": self.series}


class FilteredDataStorage(SQLDataStorage):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's storage of points, which reads for a panel only the points that the panel can show.

    A panel gets at most `panel_points` snapshots, see `thinned` (0: all).
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
        snapshots = [SNAPSHOTS.c.project_id == project_id]
        snapshots += [SNAPSHOTS.c.timestamp >= start_time] if start_time is not None else []
        snapshots += [SNAPSHOTS.c.timestamp <= end_time] if end_time is not None else []
        points = [POINTS.c.project_id == project_id]
        metrics = {wanted.metric for wanted in series_filter}
        if ANY_METRIC not in metrics:
            points.append(POINTS.c.metric_type.in_(sorted(metrics)))
        with self.session as session:
            found = None
            if not any(wanted.tags or wanted.metadata for wanted in series_filter):
                found = _found_among_chosen(session, snapshots, points, series_filter, self._panel_points)
            if found is None:
                if len(snapshots) > 1:
                    points.append(POINTS.c.snapshot_id.in_(select(SNAPSHOTS.c.id).where(*snapshots)))
                shown = _shown(_snapshots(session, snapshots), _points(session, points), series_filter)
                found = thinned(
                    [(one, bool(one[0]["metadata"].get(FAILED_CHECKS))) for one in shown], self._panel_points
                )
        sources, series = _collect(found)
        return ReadySeriesResponse.construct(sources=sources, series=series)


def _found_among_chosen(
    session: Session, snapshots: Sequence[Limit], points: Sequence[Limit], filters: Sequence[SeriesFilter], limit: int
) -> list[_Shown] | None:
    """Choose among the snapshots that have points of these metrics, and read only the chosen ones.

    None where there is nothing to choose, or where a chosen snapshot turns out to have no point for the panel: a point
    with fewer parameters than every filter does not count, and only reading all points can show that.
    """
    if not 0 < limit <= MAX_NAMED:
        return None
    failed = SNAPSHOTS.c.metadata_json[FAILED_CHECKS].as_string()
    query = select(type_coerce(SNAPSHOTS.c.id, String), func.coalesce(failed, "") != "")
    query = query.where(*snapshots, SNAPSHOTS.c.id.in_(select(POINTS.c.snapshot_id).where(*points)))
    rows = session.execute(query.order_by(SNAPSHOTS.c.timestamp, SNAPSHOTS.c.id)).all()
    if len(rows) <= limit:
        return None
    chosen = thinned([(key, bool(failed)) for key, failed in rows], limit)
    named = type_coerce(SNAPSHOTS.c.id, String).in_(chosen), type_coerce(POINTS.c.snapshot_id, String).in_(chosen)
    shown = _shown(_snapshots(session, [*snapshots, named[0]]), _points(session, [*points, named[1]]), filters)
    return shown if len(shown) == len(chosen) else None


def _snapshots(session: Session, limits: Sequence[Limit]) -> list[tuple[Hashable, Source]]:
    """Return the snapshots, oldest first, each with its id as the database has it."""
    read = (cast(SNAPSHOTS.c.tags, String), cast(SNAPSHOTS.c.metadata_json, String))
    query = select(type_coerce(SNAPSHOTS.c.id, String), SNAPSHOTS.c.id, SNAPSHOTS.c.timestamp, *read)
    query = query.where(*limits).order_by(SNAPSHOTS.c.timestamp, SNAPSHOTS.c.id)
    return [
        (key, {"snapshot_id": id_, "timestamp": time, "tags": _parsed(tags), "metadata": _parsed(metadata)})
        for key, id_, time, tags, metadata in session.execute(query)
    ]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """Parse JSON; cached, because all panels of a dashboard ask for the same snapshots. Do not change the result."""
    return json.loads(text)


def _points(session: Session, limits: Sequence[Limit]) -> Points:
    """Return (metric, its parameters as JSON, value) of each point, by its snapshot's id."""
    # Not parsed: ids are only compared, and the same few parameters occur in each snapshot.
    raw = (type_coerce(POINTS.c.snapshot_id, String), POINTS.c.metric_type, cast(POINTS.c.params, String))
    query = select(*raw, POINTS.c.value).where(*limits)
    found = defaultdict(list)
    for key, metric, text, value in session.execute(query.order_by(POINTS.c.id)):
        found[key].append((metric, text, value))
    return found


def _shown(
    snapshots: Sequence[tuple[Hashable, Source]], points: Points, filters: Sequence[SeriesFilter]
) -> list[_Shown]:
    """Return the snapshots that have points for the panel, each with its points and their lines."""

    @cache
    def line_of(metric: str, text: str, admitted: tuple[int, ...]) -> _Line | None:
        return _line(metric, text, [(index, filters[index]) for index in admitted])

    found: list[_Shown] = []
    for key, snapshot in snapshots:
        admitted = tuple(index for index, wanted in enumerate(filters) if _admits(wanted, snapshot))
        lines = [(line_of(point[0], point[1], admitted), point) for point in points.get(key, ())]
        if shown := [(line, point) for line, point in lines if line is not None]:
            found.append((snapshot, shown))
    return found


def _collect(found: Sequence[_Shown]) -> tuple[list[Source], list[dict[str, Any]]]:
    sources: list[Source] = []
    series: dict[str, dict[str, Any]] = {}
    for index, (snapshot, shown) in enumerate(found):
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


def thinned(snapshots: Sequence[tuple[T, bool]], limit: int) -> list[T]:
    """Return at most `limit` of the snapshots, all if it is 0; given oldest first, each with whether it failed a check.

    A browser draws each point of each line as an element of its own. Two fifths of `limit` are the newest snapshots.
    One is the very first, so that the chart begins where the data begin. All others are divided into groups of equal
    size, and each group is represented by its newest snapshot with failed checks, or else by its newest.
    """
    if limit <= 0 or len(snapshots) <= limit:
        return [snapshot for snapshot, _ in snapshots]
    newest = 2 * limit // 5
    groups = limit - newest - 1
    first, older, recent = snapshots[0], snapshots[1 : len(snapshots) - newest], snapshots[len(snapshots) - newest :]
    edges = [len(older) * group // groups for group in range(groups + 1)]
    chosen = [_representative(older[start:end]) for start, end in pairwise(edges)]
    return [snapshot for snapshot, _ in (first, *chosen, *recent)]


def _representative(group: Sequence[tuple[T, bool]]) -> tuple[T, bool]:
    return next((one for one in reversed(group) if one[1]), group[-1])


def _admits(wanted: SeriesFilter, snapshot: Source) -> bool:
    tagged = set(wanted.tags) <= set(snapshot["tags"])
    return tagged and wanted.metadata.items() <= snapshot["metadata"].items()


def _line(metric: str, text: str, filters: Sequence[tuple[int, SeriesFilter]]) -> _Line | None:
    """Return the line of a point; None if the point does not concern the panel.

    If no filter selects a point of the panel's metrics, its snapshot still counts, as a gap in the chart.
    """
    params = {name: value for name, value in (json.loads(text) or {}).items() if value not in (None, "None")}
    named = [(index, wanted) for index, wanted in filters if wanted.metric in {ANY_METRIC, metric}]
    if all(params.items() < wanted.metric_labels.items() for _, wanted in named):
        return None
    index = next((index for index, wanted in named if wanted.metric_labels.items() <= params.items()), None)
    return _Line(f"{metric}:" + ",".join(f"{name}={value}" for name, value in params.items()), params, index)
