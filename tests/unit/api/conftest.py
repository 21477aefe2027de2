"""A real API in this process: real model, real SQLite, no snapshots."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings

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
