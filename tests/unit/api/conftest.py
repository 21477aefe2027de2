"""A real API in this process: real model, real SQLite, no snapshots."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.app import create_app
from api.prediction_log.database import Database
from api.prediction_log.tables import metadata
from api.settings import Settings

Logged = Callable[[str], list[dict[str, Any]]]
"""Returns the rows of one of the log's tables."""

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def settings(tmp_path: Path, iris_artifact: Path, database_url: str) -> Settings:
    return Settings(
        model_dir=iris_artifact,
        database_url=database_url,
        reports_dir=tmp_path / "reports",
        snapshots=False,
        max_batch_rows=100,
        max_body_bytes=50_000,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def setosa() -> dict[str, float | None]:
    return dict(SETOSA)


@pytest.fixture
def logged(database_url: str) -> Logged:
    def rows(table: str) -> list[dict[str, Any]]:
        database = Database(database_url)
        with database.reading() as connection:
            found = [dict(row._mapping) for row in connection.execute(select(metadata.tables[table]))]
        database.dispose()
        return found

    return rows
