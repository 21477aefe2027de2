"""The servers that are compared, each a process of its own on a core of its own choosing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx

from scripts.ports import free_port

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[3]
START_SECONDS = 120.0
NOOP, OURS, TUTORIAL = "no-op endpoint", "Vigie", "tutorial endpoint"


@dataclass(frozen=True)
class Cores:
    """Which core the servers run on, and which the loader; None where this machine has one only."""

    server: int | None
    loader: int | None


@dataclass(frozen=True)
class Server:
    """How to start one contender.

    In `command` and `environment`, "{port}" stands for its port. `ready` answers 200 once it serves, and `body` makes
    a row into what it takes.
    """

    name: str
    command: Sequence[str]
    path: str = "/predict"
    ready: str = "/openapi.json"
    environment: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[dict[str, Any]], Any] = lambda row: row


@dataclass(frozen=True)
class Running:
    """A contender that serves."""

    server: Server
    port: int
    pid: int
    start_seconds: float

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """Processor time that its process has used, without its children's."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        """Memory that its process holds, without its children's."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def pick_cores() -> Cores:
    """Return two cores of those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def noop(model_dir: Path) -> Server:
    """Return the framework's own limit."""
    return Server(NOOP, [sys.executable, str(PROGRAMS / "noop.py"), str(model_dir), "{port}"])


def tutorial(model_dir: Path, log: Path) -> Server:
    """Return what a tutorial teaches."""
    return Server(TUTORIAL, [sys.executable, str(PROGRAMS / "tutorial.py"), str(model_dir), "{port}", str(log)])


def ours(model_dir: Path, folder: Path, **settings: str) -> Server:
    """Return the API with its log in the folder; snapshots are off unless a setting says otherwise."""
    own = {
        "VIGIE_MODEL_DIR": str(model_dir),
        "VIGIE_DATABASE_URL": f"sqlite:///{folder / 'vigie.db'}",
        "VIGIE_REPORTS_DIR": str(folder / "reports"),
        "VIGIE_SNAPSHOTS": "false",
        "VIGIE_PORT": "{port}",
    }
    return Server(OURS, [sys.executable, "-m", "api"], ready="/health/ready", environment=own | settings)


@contextmanager
def running(server: Server, folder: Path, core: int | None) -> Iterator[Running]:
    """Start the server, wait until it is ready, and stop it at the end.

    Raises RuntimeError, with the last lines that the server wrote, where it does not start.
    """
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
    settings = {name: value.replace("{port}", str(port)) for name, value in server.environment.items()}
    log = folder / f"{server.name.replace(' ', '-')}.log"
    home = log.with_suffix("")  # whatever a server leaves where it runs, it leaves there
    home.mkdir(exist_ok=True)
    began = perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=inherited | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"} | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        _await_ready(process, f"http://127.0.0.1:{port}{server.ready}", log, server.name)
        yield Running(server, port, process.pid, perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", url: str, log: Path, name: str) -> None:
    deadline = perf_counter() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=5) as client:
        while perf_counter() < deadline and process.poll() is None:
            try:
                if client.get(url).status_code == HTTPStatus.OK:
                    return
            except httpx.TransportError:
                pass
            sleep(0.02)
    last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
    raise RuntimeError(f"{name} did not start:\n{last}")
