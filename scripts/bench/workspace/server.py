"""Evidently UI as a process: ours on SQL, or the plain one on its file workspace."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from evidently_workspace.ui.options import SECRET_VARIABLE
from scripts.ports import free_port
from scripts.stack.services import Child, Guard, Service

START_LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Workspace:
    """Where a workspace is and how its UI is started."""

    folder: Path
    plain: bool = False

    @property
    def database_url(self) -> str:
        """The address of our UI's database."""
        return f"sqlite:///{self.folder / 'evidently.db'}"

    def command(self, port: int) -> list[str]:
        """Return the command that serves it."""
        if self.plain:
            script = Path(sys.executable).with_name("evidently")
            return [str(script), "ui", "--workspace", str(self.folder), "--port", str(port)]
        return [sys.executable, "-m", "evidently_workspace.ui", "--port", str(port), "--database", self.database_url]

    def disk_bytes(self) -> int:
        """Return the size of its files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@dataclass(frozen=True)
class RunningUI:
    """A UI that answers: its address, its process, and how long it took from the start to the first answer."""

    url: str
    pid: int
    start_seconds: float

    def memory_bytes(self) -> int:
        """Return the memory that the process holds now (resident set)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


@contextmanager
def running(workspace: Workspace, log: Path) -> Iterator[RunningUI]:
    """Serve the workspace while the block lasts; raises ChildDiedError or TimeoutError."""
    workspace.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    for name in (SECRET_VARIABLE, f"{SECRET_VARIABLE}_FILE"):
        environment.pop(name, None)  # the bench writes without one
    began = time.monotonic()
    with Guard() as guard:
        child = Child("Evidently UI", workspace.command(port), environment, guard, log)
        try:
            _await_answer(Service(child, f"{url}/api/version"), began)
            yield RunningUI(url, child.pid, time.monotonic() - began)
        finally:
            child.stop()


def _await_answer(service: Service, began: float) -> None:
    while time.monotonic() - began < START_LIMIT_SECONDS:
        service.check()
        try:
            httpx.get(service.ready_url, timeout=START_LIMIT_SECONDS).raise_for_status()
        except httpx.TransportError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise TimeoutError(f"{service.ready_url} did not answer within {START_LIMIT_SECONDS:g} s")
