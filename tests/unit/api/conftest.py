"""A real API in this process: real model, real SQLite, no snapshots; with and without API keys."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.security.keys import SCOPES
from api.settings import Settings
from scripts.keys import create_key
from tests.clocked import ClockedDatabase
from tests.logging_rows import Logged, reader_of

Bearer = dict[str, str]

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path, iris_artifact: Path, database_url: str) -> Settings:
    return Settings(
        model_dir=iris_artifact,
        database_url=database_url,
        reports_dir=tmp_path / "reports",
        snapshots=False,
        max_batch_rows=100,
        max_body_bytes=50_000,
        allowed_hosts="testserver,x",
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
    return reader_of(database_url)


@pytest.fixture
def database(database_url: str) -> Iterator[ClockedDatabase]:
    """A log of each kind with the newest schema, at the time that the test sets."""
    database = ClockedDatabase(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def keys(keys_file: Path) -> dict[str, str]:
    """The key of each scope."""
    return {scope: create_key(keys_file, scope, [scope]) for scope in SCOPES}


@pytest.fixture
def guarded(settings: Settings, keys: dict[str, str], keys_file: Path) -> FastAPI:
    return create_app(settings.model_copy(update={"api_keys_file": keys_file, "guard_metrics": True}))


@pytest.fixture
def caller(guarded: FastAPI) -> Iterator[TestClient]:
    with TestClient(guarded, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def bearer(keys: dict[str, str]) -> Callable[[str], Bearer]:
    """The header that presents the key of a scope."""
    return lambda scope: {"Authorization": f"Bearer {keys[scope]}"}


@pytest.fixture
def feedback() -> dict[str, Any]:
    return {"labels": [{"prediction_id": "nobody", "label": "setosa"}]}
