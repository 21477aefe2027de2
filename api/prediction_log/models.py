"""The models in the log: the ids by which their rows are told apart, and which version of each to serve."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, text, update

from api.prediction_log.database import Database
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.tables import horizon, model_roll, models


def register(database: Database, names: Collection[str], default: str | None) -> dict[str, int]:
    """Return the id of each name; one that is new gets an id, which it keeps. ``default`` is one of the names, or None.

    The rows from before models had names belong to the first default. A name that is left out keeps its id and rows.
    Several processes may call this at once. Raises LogUnavailable.
    """
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))
        known = _ids(connection)
        if default is not None and default not in known and _is_nameless(connection):
            connection.execute(update(models).where(models.c.id == SOLE_MODEL).values(name=default))
            known[default] = SOLE_MODEL
        newest = connection.execute(select(func.max(models.c.id))).scalar_one()
        for model_id, name in enumerate(sorted(set(names) - known.keys()), newest + 1):
            connection.execute(insert(models).values(id=model_id, name=name))
            connection.execute(insert(horizon).values(id=model_id, closed_until=0))
            known[name] = model_id
    return {name: known[name] for name in names}


def known_models(database: Database) -> dict[str, int]:
    """Return the id of each name that was ever registered. Raises LogUnavailable."""
    with database.reading() as connection:
        return _ids(connection)


def _ids(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(models.c.name, models.c.id).where(models.c.name.is_not(None)))
    return {row.name: row.id for row in rows}


def _is_nameless(connection: Connection) -> bool:
    return connection.execute(select(models.c.name).where(models.c.id == SOLE_MODEL)).scalar_one() is None


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One request to serve a version; a later request has a higher ``generation``."""

    generation: int
    model_version: str


class ServedVersionStore:
    """Announces the version of a model to serve, and reads the newest announcement."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._model_id = model_id

    def newest(self) -> ServedVersion | None:
        """Return the newest announcement, None if there is none. Raises LogUnavailable."""
        query = select(model_roll.c.generation, model_roll.c.model_version).where(model_roll.c.id == self._model_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else ServedVersion(row.generation, row.model_version)

    def announce(self, model_version: str) -> ServedVersion:
        """Ask every process to serve this version. Raises LogUnavailable, and then nothing is announced."""
        ours = model_roll.c.id == self._model_id
        with self._database.writing() as connection:
            now = self._database.now(connection)
            changed = {"model_version": model_version, "asked_at": now}
            raised = update(model_roll).where(ours).values(generation=model_roll.c.generation + 1, **changed)
            if connection.execute(raised).rowcount == 0:
                connection.execute(insert(model_roll).values(id=self._model_id, generation=1, **changed))
            generation = connection.execute(select(model_roll.c.generation).where(ours)).scalar_one()
        return ServedVersion(generation, model_version)
