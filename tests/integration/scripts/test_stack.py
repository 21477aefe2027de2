"""The embedded stack as real processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from scripts.ports import is_free
from tests.integration.scripts.processes import ROOT, children, environment, eventually
from tests.servers import Server, free_port, runs

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads children from Linux's /proc")


class Command:
    """A running `python -m scripts.stack` and its ports."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.api_port, self.ui_port = free_port(), free_port()
        self.output = folder / "output"
        options = ["--api-port", str(self.api_port), "--ui-port", str(self.ui_port), "--data-dir", str(folder / "data")]
        command = [sys.executable, "-m", "scripts.stack", *options]
        self.process = Server(command, self.output, cwd=ROOT, env=environment(VIGIE_MODEL_DIR=str(model)))

    def says(self, text: str) -> bool:
        return text in self.output.read_text()

    def children(self) -> dict[str, int]:
        assert eventually(lambda: self.process.poll() is not None or len(children(self.process.pid)) == 2)
        return children(self.process.pid)


@contextmanager
def stack(folder: Path, model: Path) -> Iterator[Command]:
    command = Command(folder, model)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


def test_it_starts_both_says_where_and_stops_both_on_ctrl_c(tmp_path: Path, iris_artifact: Path) -> None:
    with stack(tmp_path, iris_artifact) as command:
        pids = command.children()
        assert eventually(lambda: command.says("Ctrl-C") or command.process.poll() is not None)
        text = command.output.read_text()
        assert f"http://127.0.0.1:{command.api_port}/docs" in text
        assert f"http://127.0.0.1:{command.ui_port}" in text
        assert httpx.get(f"http://127.0.0.1:{command.api_port}/health/ready", trust_env=False).is_success
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(60) == 0
    assert not any(runs(pid) for pid in pids.values())
    assert is_free("127.0.0.1", command.api_port)
    assert is_free("127.0.0.1", command.ui_port)


def test_what_it_writes_is_for_its_user_alone(tmp_path: Path, iris_artifact: Path) -> None:
    (tmp_path / "data" / "logs").mkdir(parents=True, mode=0o755)
    (tmp_path / "data" / "evidently.secret").write_text("of an earlier run")
    (tmp_path / "data" / "evidently.secret").chmod(0o600)
    with stack(tmp_path, iris_artifact) as command:
        assert eventually(lambda: command.says("Ctrl-C") or command.process.poll() is not None)
        written = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert {"vigie.db", "evidently.db", "api.log", "logs"} <= {path.name for path in written}
    assert [path for path in written if path.exists() and path.stat().st_mode & 0o077] == []


def test_nothing_outlives_a_stack_that_is_killed(tmp_path: Path, iris_artifact: Path) -> None:
    with stack(tmp_path, iris_artifact) as command:
        pids = command.children()
        assert len(pids) == 2
    assert eventually(lambda: not any(runs(pid) for pid in pids.values()), 30)


def test_a_service_that_dies_is_named_with_its_log_and_the_other_is_stopped(
    tmp_path: Path, iris_artifact: Path
) -> None:
    with stack(tmp_path, iris_artifact) as command:
        pids = command.children()
        assert eventually(lambda: command.says("API is ready") or "Uvicorn" in log(tmp_path, "api"))
        os.kill(pids["api"], signal.SIGKILL)
        assert command.process.wait(60) == 1
        assert command.says("API was ended by signal 9")
        assert command.says("the end of its log")
    assert not runs(pids["evidently_workspace.ui"])


def test_a_taken_port_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = ["--api-port", str(free_port()), "--ui-port", str(port), "--data-dir", str(tmp_path / "data")]
        done = subprocess.run(
            [sys.executable, "-m", "scripts.stack", *options],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"port {port} is taken, and Evidently UI needs it" in done.stderr
    assert not (tmp_path / "data").exists()


def log(folder: Path, name: str) -> str:
    path = folder / "data" / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""
