"""An API whose callers need keys: one key for each scope, in a file."""

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

Bearer = dict[str, str]


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
