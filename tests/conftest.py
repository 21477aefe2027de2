"""What tests of several packages share: a real small model, and a place for pictures."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.postgres import fresh_database, postgres_programs, postgres_server

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def iris_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained as a user would train it."""
    folder = tmp_path_factory.mktemp("iris") / "model"
    command = [sys.executable, "-m", "model.train", "--dataset", "iris", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=250)
    return folder


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept."""
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder


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
