"""The servers that are compared, each in its own process: ours, a no-op, a tutorial's, and other model servers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx
import psycopg

from model.artifact.manifest import ClassifierManifest
from model.artifact.store import ONNX_FILE, read_manifest
from scripts.ports import free_port

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[3]
START_SECONDS = 120.0
NOOP, OURS, TUTORIAL = "no-op endpoint", "Vigie", "tutorial endpoint"
ON_POSTGRESQL = "Vigie on PostgreSQL"


@dataclass(frozen=True)
class Cores:
    """Which core the servers run on, and which the loader; None where this machine has one only."""

    server: int | None
    loader: int | None


@dataclass(frozen=True)
class Server:
    """How to start one server.

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
    """A server that runs."""

    server: Server
    port: int
    pid: int
    start_seconds: float

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its process, without its children."""
        return cpu_seconds_of(self.pid)

    @property
    def cpu_seconds_with_children(self) -> float:
        """Return the CPU seconds of its process and of those that it started."""
        return cpu_seconds_of(self.pid, *_children(self.pid))

    @property
    def resident_bytes(self) -> int:
        """Return the resident bytes of its process, without its children."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def cpu_seconds_of(*pids: int) -> float:
    """Return the CPU seconds of those of the processes that still run."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def postgres_processes(url: str) -> list[int]:
    """Return the processes of a PostgreSQL server; none where it is on another machine."""
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:", 1)) as own:
        name = Path(f"/proc/{own.info.backend_pid}/comm")
        if not name.exists() or not name.read_text(encoding="ascii").startswith("postgres"):
            return []
        stat = Path(f"/proc/{own.info.backend_pid}/stat").read_text(encoding="ascii")
        leader = int(stat.rpartition(")")[2].split()[1])
        ours = own.info.backend_pid
    return [pid for pid in _children(leader) if pid != ours]


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text(encoding="ascii").split()]


def pick_cores() -> Cores:
    """Return two cores of those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def noop(model_dir: Path) -> Server:
    """Return an endpoint that does nothing: the limit of the framework."""
    return Server(NOOP, [sys.executable, str(PROGRAMS / "noop.py"), str(model_dir), "{port}"])


def tutorial(model_dir: Path, log: Path) -> Server:
    """Return an endpoint as tutorials write it."""
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
    name = ON_POSTGRESQL if settings.get("VIGIE_DATABASE_URL", "").startswith("postgresql") else OURS
    return Server(name, [sys.executable, "-m", "api"], ready="/health/ready", environment=own | settings)


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


PEERS = ("litserve", "bentoml", "mlserver")


def peer_servers(
    names: Sequence[str], python: Path | None, model_dir: Path, folder: Path
) -> tuple[list[Server], list[str]]:
    """Return the peers that the given Python can import, and one line on each that it cannot."""
    interpreter = str(python.absolute() if python else sys.executable)
    servers, missing = [], []
    for name in names:
        if _can_import(interpreter, name):
            servers.append(_server(name, interpreter, model_dir, folder))
        else:
            missing.append(f"{name}, which {interpreter if python else 'this Python'} does not have")
    return servers, missing


def _can_import(interpreter: str, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([interpreter, "-c", code], check=False, capture_output=True).returncode == 0


def _server(name: str, interpreter: str, model_dir: Path, folder: Path) -> Server:
    manifest = read_manifest(model_dir)
    if not isinstance(manifest, ClassifierManifest):
        raise TypeError("the peers' programs answer with classes")
    model = {
        "PEER_MODEL": str(model_dir / ONNX_FILE),
        "PEER_FEATURES": json.dumps(manifest.feature_names),
        "PEER_CLASSES": json.dumps(manifest.class_names),
        "PYTHONPATH": str(PROGRAMS),
    }
    binary = str(Path(interpreter).parent / name)
    match name:
        case "litserve":
            command = [interpreter, str(PROGRAMS / "litserve_server.py"), "{port}"]
            return Server(name, command, "/predict", "/health", model)
        case "bentoml":
            command = [binary, "serve", "bentoml_service:Model", "--port", "{port}", "--host", "127.0.0.1"]
            home = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
            return Server(name, command, "/predict", "/readyz", model | home, body=lambda row: {"row": row})
        case _:
            _write_mlserver_settings(folder / "mlserver")
            ports = {
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_GRPC_PORT": "0",
                "MLSERVER_METRICS_PORT": "0",
                "MLSERVER_PARALLEL_WORKERS": "0",
            }
            command = [binary, "start", str(folder / "mlserver")]
            return Server(name, command, "/v2/models/iris/infer", "/v2/health/ready", model | ports, body=_v2)


def _write_mlserver_settings(folder: Path) -> None:
    folder.mkdir()
    settings = {"name": "iris", "implementation": "mlserver_model.OnnxModel"}
    (folder / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")


def _v2(row: dict[str, Any]) -> dict[str, Any]:
    values = list(row.values())
    return {"inputs": [{"name": "row", "shape": [1, len(values)], "datatype": "FP64", "data": values}]}
