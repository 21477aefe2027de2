"""The row that says to all processes that share the log which version of the model to serve."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from api.prediction_log.database import Database
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.tables import model_roll


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
