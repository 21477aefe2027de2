"""What tests of several packages share: trained models, a PostgreSQL server, a place for pictures, and their order."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from uuid import uuid4

import pytest

from tests.artifacts import trained_artifact
from tests.postgres import MIGRATED, MISSING, drop_database, fresh_database, postgres_programs, postgres_server

ROOT = Path(__file__).parent.parent
FIRST = ("tests/compose", "tests/integration/api/test_exactly_once.py")
"""What takes longest starts first, so that no worker is left with it at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each worker whole modules, as fixtures are shared within them, and the longest ones first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST)))


def group_of(item: pytest.Item) -> str:
    """Return the name of the tests that one worker runs: a module, or all that use the one compose project."""
    module = item.nodeid.split("::")[0]
    return "tests/compose" if module.startswith("tests/compose/") else module


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def iris_artifact(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model trained as a user would train it."""
    return copy_of_trained("iris", request.config, shared_folder, tmp_path_factory)


@pytest.fixture(scope="session")
def diabetes_artifact(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model that predicts numbers, trained as a user would train it."""
    return copy_of_trained("diabetes", request.config, shared_folder, tmp_path_factory)


def copy_of_trained(
    dataset: str, config: pytest.Config, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a copy, which nothing that a test does to it can spoil for another run."""
    cache = getattr(config, "cache", None)
    kept_in = shared_folder / "artifacts" if cache is None else cache.mkdir("artifacts")
    return copytree(trained_artifact(kept_in, "--dataset", dataset), tmp_path_factory.mktemp(dataset) / "model")


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept."""
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres(shared_folder: Path) -> Iterator[str | None]:
    """The address of a real server, or None where this machine has none."""
    if postgres_programs() is None:
        yield None
        return
    with postgres_server(shared_folder) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, without rows."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    address = request.getfixturevalue("postgres")
    if address is None:
        pytest.skip(MISSING)
    name = f"test_{uuid4().hex}"
    yield fresh_database(address, name, template=MIGRATED)
    drop_database(address, name)
