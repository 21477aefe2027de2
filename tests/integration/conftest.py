"""The Evidently UI that integration tests share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import Server, await_answer, free_port, shared_server

ROOT = Path(__file__).parents[2]
SECRET = "only for tests"  # noqa: S105 - guards nothing but this database


@dataclass(frozen=True)
class RunningUI:
    """Where a started UI is, and where it keeps its data."""

    url: str
    secret: str
    database: Path
    log: Path


def start_ui(folder: Path, port: int) -> tuple[Server, RunningUI]:
    """Start an Evidently UI that keeps its data in a new folder below this one; it answers when this returns."""
    running = RunningUI(f"http://127.0.0.1:{port}", SECRET, folder / "data" / "evidently.db", folder / "ui.log")
    command = [sys.executable, "-m", "evidently_workspace.ui", "--port", str(port)]
    command += ["--database", f"sqlite:///{running.database}"]
    environment = {"PATH": "/usr/bin:/bin", "VIGIE_EVIDENTLY_SECRET": SECRET}
    server = Server(command, running.log, cwd=ROOT, env=environment)
    await_answer(f"{running.url}/api/version", server)
    return server, running


@contextmanager
def evidently_ui(folder: Path, port: int) -> Iterator[RunningUI]:
    """A UI of one test, for as long as the block lasts."""
    server, running = start_ui(folder, port)
    try:
        yield running
    finally:
        server.stop()


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Iterator[RunningUI]:
    """The UI of all tests, on a database that was empty: each test uses projects of its own."""

    def start() -> tuple[Server, dict[str, str]]:
        server, running = start_ui(tmp_path_factory.mktemp("evidently"), free_port())
        return server, {"url": running.url, "database": str(running.database), "log": str(running.log)}

    with shared_server(shared_folder, "evidently-ui", start) as facts:
        yield RunningUI(facts["url"], SECRET, Path(facts["database"]), Path(facts["log"]))


@pytest.fixture(scope="session")
def ui_port(ui: RunningUI) -> int:
    return int(ui.url.rsplit(":", 1)[1])
