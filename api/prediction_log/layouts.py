"""Row layouts: the names that rows are logged without, each stored once, and the rows read by name again."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import orjson
from sqlalchemy import ColumnElement, Connection, Select, event, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from api.errors import LogUnavailable
from api.prediction_log.database import Database
from api.prediction_log.records import PredictionRecord
from api.prediction_log.tables import log_identity, predictions, row_layouts

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0
"""The longest time without a look at whether the database's clock allows layouts by now."""


@dataclass(frozen=True, slots=True)
class RowLayout:
    """What all rows of one version share: the version, and the names of features and classes in the order of values.

    The id follows from the content: a log that lost a layout, as a replica may that was behind, gets the same one
    again, and no row is ever read by the names of another one.
    """

    id: int
    model_version: str
    features: tuple[str, ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, model_version: str, features: Sequence[str], classes: Sequence[str] = ()) -> Self:
        """Return the layout of this content."""
        digest = sha256(orjson.dumps([model_version, features, classes])).digest()
        return cls(int.from_bytes(digest[:4]) >> 1, model_version, tuple(features), tuple(classes))

    def read_features(self, text: str) -> dict[str, Any]:
        """Return a logged row by name, first what rode along with it."""
        values = orjson.loads(text)
        metadata = values.pop() if len(values) > len(self.features) else {}
        return {**metadata, **dict(zip(self.features, values, strict=True))}

    def read_probabilities(self, text: str) -> dict[str, float]:
        """Return logged probabilities by class; none where none were logged."""
        return dict(zip(self.classes, orjson.loads(text), strict=False))

    def version_of(self, _logged: str) -> str:
        """Return the version that made a row."""
        return self.model_version


class _ByName(RowLayout):
    """Rows that are logged with all names, as rows were before there were layouts."""

    def read_features(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(text)
        return found

    def read_probabilities(self, text: str) -> dict[str, float]:
        found: dict[str, float] = orjson.loads(text)
        return found

    def version_of(self, logged: str) -> str:
        return logged


class LayoutsInUse(dict[int | None, RowLayout]):
    """The layouts of the rows that are read on a connection, by what the rows say; each is read when it is needed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__({None: _ByName(0, "", (), ())})
        self._connection = connection

    def __missing__(self, layout_id: int | None) -> RowLayout:
        """Return another layout. Raises LogUnavailable."""
        found = None if layout_id is None else _read(self._connection, layout_id)
        if found is None:
            raise LogUnavailable(
                f"the log has lost the names of its rows with the layout {layout_id}; start the API with the version "
                "of the model that made them, which stores them again"
            )
        self[layout_id] = found
        return found

    def by_name(self, record: PredictionRecord) -> PredictionRecord:
        """Return a record as it is without a layout."""
        if record.layout is None:
            return record
        layout = self[record.layout]
        return record._replace(
            model_version=layout.model_version,
            features=orjson.dumps(layout.read_features(record.features)).decode(),
            probabilities=orjson.dumps(layout.read_probabilities(record.probabilities)).decode(),
            layout=None,
        )


def is_of_version(model_version: str | None) -> ColumnElement[bool]:
    """Predictions that this version made; none for None."""
    ids = select(row_layouts.c.id).where(row_layouts.c.model_version == model_version)
    return or_(predictions.c.model_version == model_version, predictions.c.layout.in_(ids))


def counts_by_version(connection: Connection, query: Select[Any]) -> Counter[str]:
    """Return the count that the query selects, of each version of the model."""
    logged = predictions.c.model_version, predictions.c.layout
    layouts, found = LayoutsInUse(connection), Counter[str]()
    for count, version, layout in connection.execute(query.add_columns(*logged).group_by(*logged)).all():
        found[layouts[layout].version_of(version)] += count
    return found


class LayoutStore:
    """Stores the layouts of the rows that a process logs; many processes may do so at once.

    A log that was migrated takes rows with layouts only some time after that, as processes of the version before could
    not read them: see `log_identity`. Until then, and where a layout cannot be stored, rows are logged by name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stored: set[int] = set()
        self._next_try = 0.0
        if not database.is_sqlite:
            # It may lead to another server, which does not have them all.
            event.listen(database.engine, "connect", lambda *_: self._stored.clear())

    def id_of(self, layout: RowLayout) -> int | None:
        """Return the id under which the log has a layout; None where rows must be logged by name."""
        if layout.id in self._stored:
            return layout.id
        now = self._database.elapsed()
        if now < self._next_try:
            return None
        try:
            wait = self._store(layout)
        except LogUnavailable:
            wait = RETRY_SECONDS  # what logs the rows says so
        if wait:
            self._next_try = now + wait
            return None
        self._stored.add(layout.id)
        return layout.id

    def _store(self, layout: RowLayout) -> float:
        """Store a layout; return 0, or after how many seconds to try again. Raises LogUnavailable."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            allowed: int = connection.execute(select(log_identity.c.layouts_from)).scalar_one()
            known = _read(connection, layout.id)
        if now < allowed:
            return min((allowed - now) / 1_000_000, MAX_WAIT_SECONDS)
        if known is None:
            insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
            names = {name: orjson.dumps(getattr(layout, name)).decode() for name in ("features", "classes")}
            content = {"id": layout.id, "model_version": layout.model_version, **names}
            with self._database.writing() as connection:
                connection.execute(insert(row_layouts).values(content).on_conflict_do_nothing())
                known = _read(connection, layout.id)
        if known == layout:
            return 0.0
        logger.warning("another layout has the id %s; rows of %s are logged by name", layout.id, layout.model_version)
        return MAX_WAIT_SECONDS


def _read(connection: Connection, layout_id: int) -> RowLayout | None:
    row = connection.execute(select(row_layouts).where(row_layouts.c.id == layout_id)).first()
    if row is None:
        return None
    return RowLayout(row.id, row.model_version, tuple(orjson.loads(row.features)), tuple(orjson.loads(row.classes)))
