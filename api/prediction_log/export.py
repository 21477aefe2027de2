"""Reads logged predictions with their labels, page by page: a span of any length in bounded memory."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_

from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.layouts import LayoutsInUse, RowLayout, counts_by_version
from api.prediction_log.records import SOLE_MODEL, public_id
from api.prediction_log.tables import labels, predictions

PAGE_ROWS = 10_000
"""Rows in one read transaction: a longer one would keep SQLite's write-ahead log from being written back."""


class LoggedPrediction(NamedTuple):
    """One prediction as it was logged; ``label`` and its time of arrival are None where none has come."""

    prediction_id: str
    logged_at: datetime
    model_version: str
    features: dict[str, Any]
    prediction: str
    probabilities: dict[str, float]
    label: str | None
    label_arrived_at: datetime | None


def count_logged(
    database: Database, start: datetime, end: datetime, *, labelled: bool, model_id: int = SOLE_MODEL
) -> dict[str, int]:
    """Return how many predictions a model made in [start, end), by its version. Raises LogUnavailable.

    ``labelled`` leaves out those without a label.
    """
    query = _joined(select(func.count()), labelled=labelled).where(_inside(start, end, model_id))
    with database.reading() as connection:
        return dict(counts_by_version(connection, query))


def read_logged(
    database: Database,
    start: datetime,
    end: datetime,
    *,
    labelled: bool,
    page_rows: int = PAGE_ROWS,
    model_id: int = SOLE_MODEL,
) -> Iterator[list[LoggedPrediction]]:
    """Yield pages of the predictions that a model made in [start, end), in the order of time. Raises LogUnavailable.

    ``labelled`` leaves out those without a label. Each page is a transaction of its own.
    """
    order = (predictions.c.logged_at, predictions.c.sample_key, predictions.c.id)
    query = _joined(select(predictions, labels.c.label, labels.c.arrived_at), labelled=labelled)
    query = query.where(_inside(start, end, model_id)).order_by(*order).limit(page_rows)
    page = query
    while True:
        with database.reading() as connection:
            found = connection.execute(page).all()
            layouts = LayoutsInUse(connection)
            logged = [_logged(row, layouts[row.layout]) for row in found]
        if not found:
            return
        yield logged
        last = found[-1]
        # the first comparison says the same as the second, and lets both databases begin in the middle of the index
        page = query.where(
            predictions.c.logged_at >= last.logged_at,
            tuple_(*order) > tuple_(last.logged_at, last.sample_key, last.id),
        )


def _joined(query: Select[Any], *, labelled: bool) -> Select[Any]:
    same = labels.c.prediction_id == predictions.c.id
    return query.select_from(predictions.join(labels, same, isouter=not labelled))


def _inside(start: datetime, end: datetime, model_id: int) -> ColumnElement[bool]:
    time = predictions.c.logged_at
    return and_(predictions.c.model_id == model_id, time >= microseconds(start), time < microseconds(end))


def _logged(row: Any, layout: RowLayout) -> LoggedPrediction:
    return LoggedPrediction(
        public_id(row.id),
        moment(row.logged_at),
        layout.version_of(row.model_version),
        layout.read_features(row.features),
        row.prediction,
        layout.read_probabilities(row.probabilities),
        row.label,
        None if row.arrived_at is None else moment(row.arrived_at),
    )
