"""What tests of several packages share: a real small model, and a place for pictures."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from api.prediction_log.database import Database
from tests.postgres import drop_database, fresh_database, postgres_programs, postgres_server

ROOT = Path(__file__).parent.parent
MIGRATED = "migrated"


@pytest.fixture(scope="session")
def iris_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained as a user would train it."""
    return _trained("iris", tmp_path_factory)


@pytest.fixture(scope="session")
def diabetes_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that predicts numbers, trained as a user would train it."""
    return _trained("diabetes", tmp_path_factory)


def _trained(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(dataset) / "model"
    command = [sys.executable, "-m", "model.train", "--dataset", dataset, "--out", str(folder)]
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
        database = Database(fresh_database(server, MIGRATED))
        database.migrate()  # once, and copied for each test
        database.dispose()
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, without rows."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    server = request.getfixturevalue("postgres")
    if server is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    name = f"test_{uuid4().hex}"
    yield fresh_database(server, name, template=MIGRATED)
    drop_database(server, name)
