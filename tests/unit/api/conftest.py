"""A real API in this process: real model, real SQLite, no snapshots."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from tests.postgres import fresh_database, postgres_programs, postgres_server

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def settings(tmp_path: Path, iris_artifact: Path) -> Settings:
    return Settings(
        model_dir=iris_artifact,
        database_url=f"sqlite:///{tmp_path}/log.db",
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str | None]:
    """The address of a real server, or None where this machine has none."""
    if postgres_programs() is None:
        yield None
        return
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server = request.getfixturevalue("postgres")
    if server is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    return fresh_database(server, f"test_{uuid4().hex}")
