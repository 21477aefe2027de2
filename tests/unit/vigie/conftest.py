"""A real API on a real socket, for the client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select

from api.app import create_app
from api.prediction_log.database import Database
from api.prediction_log.tables import metadata
from api.settings import Settings
from tests.servers import free_port

Stored = Callable[[str], list[dict[str, Any]]]


@contextmanager
def served(app: FastAPI, port: int) -> Iterator[str]:
    """Serve the app, and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = monotonic() + 30
    while not server.started and monotonic() < deadline:
        sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def settings(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    return Settings(
        model_dir=iris_artifact,
        database_url=f"sqlite:///{folder}/log.db",
        reports_dir=folder / "reports",
        snapshots=False,
    )


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with served(create_app(settings), free_port()) as address:
        yield address


@pytest.fixture
def stored(settings: Settings, url: str) -> Stored:
    """Returns the rows of one of the log's tables."""

    def rows(table: str) -> list[dict[str, Any]]:
        database = Database(settings.database_url.get_secret_value())
        with database.reading() as connection:
            found = [dict(row._mapping) for row in connection.execute(select(metadata.tables[table]))]
        database.dispose()
        return found

    return rows
