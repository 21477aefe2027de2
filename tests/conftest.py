"""What tests of several packages share: trained models, a PostgreSQL server, a place for pictures, and their order."""

import os

# Before numpy is loaded, and for all programs that tests start: as many workers as cores run at once, and several
# threads of one small product or tree would wait for each other in a busy loop, which takes thrice the time.
os.environ |= {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from shutil import copytree
from uuid import uuid4

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import watched
from tests.artifacts import trained_artifact, trained_on_segments
from tests.postgres import MIGRATED, MISSING, drop_database, fresh_database, postgres_programs, postgres_server
from tests.servers import free_port

ROOT = Path(__file__).parent.parent
FIRST = (
    "tests/compose/",
    "tests/integration/model/test_your_model.py",
    "tests/integration/api/test_killing.py",
    "tests/integration/api/test_exactly_once.py",
    "tests/unit/evidently_workspace/test_snapshot.py",
    "tests/unit/scripts/bench/test_detection.py",
    "tests/unit/observability/test_prometheus.py",
)
"""What takes longest starts first, so that no worker is left with it at the end."""
DIVISIBLE = ("tests/integration/api/test_killing.py", "tests/integration/api/test_exactly_once.py")
"""Modules whose tests are long and share nothing, so that each may run on another worker."""


class Schedule(LoadScopeScheduling):
    """Gives each worker whole modules, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", maxsplit=1)[0]
        if module.startswith("tests/compose/"):
            return "tests/compose"  # one compose project
        return nodeid if module in DIVISIBLE else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    """Say which worker runs which tests."""
    config.option.loadscopereorder = False
    return Schedule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first."""
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST)))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def artifacts_kept_in(request: pytest.FixtureRequest, shared_folder: Path) -> Path:
    """Where trained artifacts are kept for later runs."""
    return _kept_in(request.config, shared_folder)


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


@pytest.fixture(scope="session")
def divided_artifact(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model whose rows are divided by a feature and by metadata."""
    kept = trained_on_segments(_kept_in(request.config, shared_folder))
    return copytree(kept, tmp_path_factory.mktemp("divided") / "model")


@pytest.fixture(scope="session")
def watched_artifact(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Models that are served elsewhere: of classes, of classes that are plain, without probabilities, of numbers."""
    kept_in = _kept_in(request.config, shared_folder)

    @cache
    def artifact(kind: str) -> Path:
        return copytree(watched.watched_artifact(kept_in, kind), tmp_path_factory.mktemp(kind) / "model")

    return artifact


def copy_of_trained(
    dataset: str, config: pytest.Config, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a copy, which nothing that a test does to it can spoil for another run."""
    kept_in = _kept_in(config, shared_folder)
    return copytree(trained_artifact(kept_in, "--dataset", dataset), tmp_path_factory.mktemp(dataset) / "model")


def _kept_in(config: pytest.Config, shared_folder: Path) -> Path:
    kept = getattr(config, "cache", None)
    return shared_folder / "artifacts" if kept is None else Path(kept.mkdir("artifacts"))


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept."""
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def httpserver_listen_address() -> tuple[str, int]:
    """Where the server of pytest-httpserver listens."""
    return "127.0.0.1", free_port()


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
