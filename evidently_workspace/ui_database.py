"""The database of the Evidently UI: where it lies and how SQLite is set up for it."""

import sqlite3
from pathlib import Path
from typing import Any

from evidently.ui.service.storage.sql.components import DatabaseComponent
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError

BUSY_TIMEOUT_MS = 10_000


class TunedDatabaseComponent(DatabaseComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's database, with SQLite in WAL mode and with its foreign keys in force.

    Without the pragma SQLite ignores them, and deleting a snapshot leaves all of its points behind.
    """

    class Config:
        """Keep Evidently's registry of component names from seeing a second "database"."""

        type_alias = "vigie"

    def get_engine(self) -> Engine:
        """Return the engine; SQLite connections get their pragmas as they are opened."""
        engine: Engine = super().get_engine()
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_pragmas)
        return engine


def prepare_folder(url: str) -> None:
    """Create the folder of an SQLite file; ValueError with one line if the address is not usable."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"{url!r} is not a database address such as sqlite:///data/evidently.db") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        folder = Path(str(parsed.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot create {folder} for the database: {error.strerror}") from error


def _set_pragmas(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
