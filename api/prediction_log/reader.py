"""Reads of the log: the rows of a window, its rows by version, and the progress of the snapshots."""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    true,
)

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.layouts import LayoutsInUse, counts_by_version, is_of_version
from api.prediction_log.records import SOLE_MODEL, HealthRun, LoggedRow, WindowStatus, public_id
from api.prediction_log.tables import labels, predictions, rejections, window_values, windows
from api.prediction_log.timeline import newest_end, next_boundary, open_since
from api.prediction_log.windows import unfinished, window_of

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
    database: Database,
    start: datetime,
    end: datetime,
    model_version: str | None,
    max_rows: int,
    *,
    model_id: int = SOLE_MODEL,
) -> WindowRows:
    """Read what the model predicted in [start, end), at most about ``max_rows`` rows of it.

    ``model_version`` None stands for all versions.
    """
    query = select(*_ROW, null().label("label"))
    return _read(database, query.where(_made(model_id, start, end)), predictions.c.logged_at, model_version, max_rows)


def read_labelled(
    database: Database,
    start: datetime,
    end: datetime,
    model_version: str | None,
    max_rows: int,
    *,
    model_id: int = SOLE_MODEL,
) -> WindowRows:
    """Read the predictions whose label arrived in [start, end), whenever they were made; versions as above."""
    query = select(*_ROW, labels.c.label).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
    return _read(database, query.where(_labelled(model_id, start, end)), labels.c.arrived_at, model_version, max_rows)


def read_with_labels(
    database: Database,
    start: datetime,
    end: datetime,
    model_version: str,
    max_rows: int,
    *,
    model_id: int = SOLE_MODEL,
) -> WindowRows:
    """Read what a version predicted in [start, end), at most ``max_rows`` rows, with the labels known by now.

    Of two numbers of rows, the fewer are among the more.
    """
    query = select(*_ROW, labels.c.label).select_from(
        predictions.join(labels, labels.c.prediction_id == predictions.c.id, isouter=True)
    )
    enough = max_rows + 6 * math.isqrt(max_rows) + 20  # a share of the rows is never exactly so many
    query = query.where(_made(model_id, start, end))
    read = _read(database, query, predictions.c.sample_key, model_version, enough)
    return replace(read, rows=read.rows[:max_rows])


_LOGGED = ("id", "features", "prediction", "probabilities", "model_version", "layout")
_ROW = tuple(predictions.c[name] for name in _LOGGED)


def _made(model_id: int, start: datetime, end: datetime) -> ColumnElement[bool]:
    """Predictions of the model that were made in [start, end)."""
    return and_(predictions.c.model_id == model_id, _within(predictions.c.logged_at, start, end))


def _labelled(model_id: int, start: datetime, end: datetime) -> ColumnElement[bool]:
    """Labels of the model's predictions that arrived in [start, end)."""
    return and_(labels.c.model_id == model_id, _within(labels.c.arrived_at, start, end))


def _within(time: ColumnElement[int], start: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(time >= microseconds(start), time < microseconds(end))


@dataclass(frozen=True, slots=True)
class HeldSpan:
    """What the log holds: the times of its first and of its newest prediction or label, and its own time now."""

    first: datetime
    last: datetime
    now: datetime


def read_held_span(database: Database, model_id: int = SOLE_MODEL) -> HeldSpan | None:
    """Return from when to when the log holds anything of a model; None where it is nothing. Raises LogUnavailable."""
    made, arrived = predictions.c, labels.c
    queries = (
        select(func.min(made.logged_at), func.max(made.logged_at)).where(made.model_id == model_id),
        select(func.min(arrived.arrived_at), func.max(arrived.arrived_at)).where(arrived.model_id == model_id),
    )
    with database.reading() as connection:
        ends = [connection.execute(query).one() for query in queries]
        now = database.now(connection)
    found = [stamp for pair in ends for stamp in pair if stamp is not None]
    return HeldSpan(moment(min(found)), moment(max(found)), moment(now)) if found else None


def read_filled_windows(
    database: Database, start: datetime, end: datetime, seconds: int, model_id: int = SOLE_MODEL
) -> dict[datetime, int]:
    """Return how many predictions and labels of a model came in each window of [start, end), by its start.

    Windows end on multiples of their length; those in which nothing came are left out. Raises LogUnavailable.
    """
    step = seconds * 1_000_000
    found: Counter[int] = Counter()
    with database.reading() as connection:
        for time, inside in (
            (predictions.c.logged_at, _made(model_id, start, end)),
            (labels.c.arrived_at, _labelled(model_id, start, end)),
        ):
            number = (time // literal_column(str(step), BigInteger)).label(
                "number"
            )  # a parameter would differ in each place
            query = select(number, func.count().label("rows")).where(inside).group_by(number)
            found.update({row.number: row.rows for row in connection.execute(query)})
    return {moment(number * step): found[number] for number in sorted(found)}


def read_rejections(database: Database, start: datetime, end: datetime, model_id: int = SOLE_MODEL) -> dict[str, int]:
    """Return how many requests to a model were refused in [start, end), by reason."""
    inside = and_(rejections.c.model_id == model_id, _within(rejections.c.logged_at, start, end))
    query = select(rejections.c.reason, func.sum(rejections.c.requests).label("requests")).where(inside)
    with database.reading() as connection:
        return {row.reason: int(row.requests) for row in connection.execute(query.group_by(rejections.c.reason))}


def _read(
    database: Database, query: Select[Any], by_time: ColumnElement[int], model_version: str | None, max_rows: int
) -> WindowRows:
    ours = true() if model_version is None else is_of_version(model_version)
    counted = query.with_only_columns(
        func.count().label("everything"),
        func.count(case((ours, 1))).label("ours"),
        maintain_column_froms=True,
    )
    with database.reading() as connection:
        count = connection.execute(counted).one()
        sampled = query.where(ours, _sampled(count.ours, max_rows)).order_by(by_time, predictions.c.sample_key)
        layouts = LayoutsInUse(connection)
        rows = [
            LoggedRow(
                (layout := layouts[layout_id]).read_features(features),
                prediction,
                layout.read_probabilities(probabilities),
                label,
                layout.version_of(version),
                public_id(key),
            )
            for key, features, prediction, probabilities, version, layout_id, label in connection.execute(sampled)
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


def count_versions(
    database: Database, start: datetime, end: datetime, model_id: int = SOLE_MODEL
) -> dict[str, VersionCount]:
    """Count what was logged of a model in [start, end), by version. Raises LogUnavailable."""
    of_labels = select(func.count()).join_from(labels, predictions, labels.c.prediction_id == predictions.c.id)
    with database.reading() as connection:
        rows = counts_by_version(connection, select(func.count()).where(_made(model_id, start, end)))
        labelled = counts_by_version(connection, of_labels.where(_labelled(model_id, start, end)))
    return {one: VersionCount(rows[one], labelled[one]) for one in sorted(rows.keys() | labelled.keys())}


def read_health(database: Database, model_id: int = SOLE_MODEL) -> HealthRun | None:
    """Return whether a model is well, and since when; None before its first snapshot. Raises LogUnavailable."""
    posted = select(windows).where(windows.c.model_id == model_id, windows.c.status == WindowStatus.POSTED)
    failed = cast(windows.c.failed_checks, Text) != "[]"
    with database.reading() as connection:
        newest = connection.execute(posted.order_by(windows.c.start.desc()).limit(1)).first()
        if newest is None:
            return None
        before = posted.where(~failed if newest.failed_checks else failed).with_only_columns(func.max(windows.c.start))
        run = posted.where(windows.c.start > (connection.execute(before).scalar() or 0))
        since, count = connection.execute(run.with_only_columns(func.min(windows.c.start), func.count())).one()
    return HealthRun(window_of(newest), moment(since), count)


def read_largest(
    database: Database, names: Collection[str], *, windows_back: int, limit: int, model_id: int = SOLE_MODEL
) -> list[str]:
    """Return the columns that had the largest value of these names in the newest windows, the largest first."""
    measured = window_values.c
    starts = select(windows.c.start).where(windows.c.model_id == model_id, windows.c.status == WindowStatus.POSTED)
    starts = starts.order_by(windows.c.start.desc()).offset(windows_back - 1).limit(1)
    query = select(measured.column).where(measured.model_id == model_id, measured.name.in_(names))
    with database.reading() as connection:
        query = query.where(measured.start >= (connection.execute(starts).scalar() or 0))
        ordered = query.group_by(measured.column).order_by(func.max(measured.value).desc(), measured.column)
        return list(connection.execute(ordered.limit(limit)).scalars())


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """The progress of a model's snapshots.

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


def read_progress(
    database: Database, interval: timedelta | None = None, model_id: int = SOLE_MODEL
) -> SnapshotProgress:
    """Read the progress of a model's windows, which last for the ``interval``. Raises LogUnavailable."""
    ours = windows.c.model_id == model_id
    with database.reading() as connection:
        waiting, oldest_end = connection.execute(
            select(func.count(), func.min(windows.c.end)).where(ours, unfinished())
        ).one()
        posted = connection.execute(
            select(windows.c.finished_at, windows.c.duration_seconds)
            .where(ours, windows.c.status == WindowStatus.POSTED)
            .order_by(windows.c.start.desc())
            .limit(1)
        ).first()
        now = database.now(connection)
        ends = [] if oldest_end is None else [int(oldest_end)]
        if interval is not None:
            step = interval // timedelta(microseconds=1)
            start = open_since(connection, step, model_id)
            ends += [] if start is None else [next_boundary(start, step)]
        closed_until = newest_end(connection, model_id) or 0
    return SnapshotProgress(
        waiting,
        timedelta(microseconds=max(0, now - min(ends, default=now))),
        None if posted is None or posted.finished_at is None else posted.finished_at / 1_000_000,
        None if posted is None else posted.duration_seconds,
        timedelta(microseconds=max(0, closed_until - now)),
    )
