"""A real Evidently UI in a process of its own, and windows of a really trained model."""

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.results import WindowSnapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest, read_reference
from model.explain.explainer import load_explainer
from tests.postgres import fresh_database, postgres_programs, postgres_server

START_LIMIT_SECONDS = 120
SECRET = "only for tests"  # noqa: S105 - guards nothing but this database


@dataclass(frozen=True)
class RunningUI:
    """Where a started UI is, and where it keeps its data."""

    url: str
    secret: str
    database: Path
    log: Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start_ui(port: int, database: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evidently_workspace.ui", "--port", str(port)]
    command += ["--database", f"sqlite:///{database}"]
    environment = os.environ | {"VIGIE_EVIDENTLY_SECRET": SECRET}
    with log.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUI]:
    """The UI as `python -m evidently_workspace.ui` starts it, on a free port and an empty database."""
    folder = tmp_path_factory.mktemp("evidently")
    port = free_port()
    # The folder of the database does not exist yet: the UI makes it.
    running = RunningUI(f"http://127.0.0.1:{port}", SECRET, folder / "data" / "evidently.db", folder / "ui.log")
    process = start_ui(port, running.database, running.log)
    try:
        await_version(running, process)
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


def await_version(running: RunningUI, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            pytest.fail(f"the UI ended with {process.returncode}:\n{running.log.read_text()}")
        try:
            # The port is taken at once and answers once Evidently is imported.
            httpx.get(f"{running.url}/api/version", timeout=START_LIMIT_SECONDS).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the UI did not answer in {START_LIMIT_SECONDS} s:\n{running.log.read_text()}")


@pytest.fixture
def client(ui: RunningUI) -> Iterator[EvidentlyClient]:
    with EvidentlyClient(ui.url, ui.secret) as connected:
        yield connected


@pytest.fixture(scope="session")
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


@pytest.fixture(scope="session")
def windows() -> Callable[[int], Window]:
    """The n-th window of five minutes after some Monday's start."""
    start, length = datetime(2026, 11, 23, tzinfo=UTC), timedelta(minutes=5)
    return lambda n: Window(start + n * length, start + (n + 1) * length)


@pytest.fixture(scope="session")
def snap(iris_artifact: Path, manifest: Manifest, windows) -> Callable[..., WindowSnapshot]:
    """Take the snapshot of the n-th window, its rows drawn from the reference and moved by `shift`."""
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    reference, explainer = read_reference(iris_artifact), load_explainer(iris_artifact)

    def take(n: int, rows: int, *, shift: float = 0.0, labelled: int | None = None, **rest: object) -> WindowSnapshot:
        current = reference.sample(rows, replace=True, random_state=n)
        current[list(manifest.feature_names)] += shift
        labels = reference.sample(rows if labelled is None else labelled, replace=True, random_state=n + 1_000)
        rest.setdefault("attributions", explainer.attributions(current.head(200)))
        return take_snapshot(windows(n), current, labels, reference, manifest, min_rows=30, min_labels=30, **rest)

    return take


@pytest.fixture(scope="session")
def imported_evidently() -> None:
    """Import Evidently once and before all else: its import uses deprecated parts of its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("evidently_workspace.ui.config")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    if postgres_programs() is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    with postgres_server() as address:
        yield address


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, imported_evidently: None
) -> Iterator[Engine]:
    from evidently_workspace.ui.database import (  # noqa: PLC0415 - takes seconds
        TunedDatabaseComponent,
        prepare_tables,
    )

    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('storage') / 'evidently.db'}"
    else:
        url = fresh_database(request.getfixturevalue("postgres"), "storage").replace("://", "+psycopg://")
    engine = TunedDatabaseComponent(url=url).get_engine()
    prepare_tables(engine)
    yield engine
    engine.dispose()
