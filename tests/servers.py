"""Servers that a test run starts: real processes that end with the run, however it ends."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

from scripts.ports import is_free
from scripts.stack import guard

PORTS = range(10_000, 32_000)
"""Below the ports that Linux gives to clients, so that no connection takes a port before its server listens."""
PORTS_OF_A_WORKER = 1_000
_NUMBERS = count(os.getpid())
_KEPT: list["Server"] = []
"""Servers that other workers still use when the worker that started them is done."""


class Guard:
    """The process that stops our servers when this process ends without doing so, even by SIGKILL."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", guard.__file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def watch(self, pid: int) -> None:
        """Stop this process, the head of its own group, when we end."""
        self._write(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Leave a process alone, because it has ended or is somebody else's."""
        self._write(f"-{pid}\n")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()


@cache
def run_guard() -> Guard:
    """Return the guard of this process."""
    return Guard()


class Server(subprocess.Popen[bytes]):
    """A server in a process group of its own, which the guard stops if this run is killed."""

    def __init__(self, command: list[str], log: Path, **options: Any) -> None:
        with log.open("ab") as output:
            super().__init__(command, stdout=output, stderr=output, start_new_session=True, **options)
        run_guard().watch(self.pid)

    def wait(self, timeout: float | None = 60) -> int:
        """Return the exit status once the server has ended."""
        status = super().wait(timeout)
        run_guard().release(self.pid)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server with a signal and return its exit status."""
        self.send_signal(number)
        return self.wait()


def free_port() -> int:
    """Return a free port that no other worker of this run asks for."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    tried = (PORTS[(worker * PORTS_OF_A_WORKER + number % PORTS_OF_A_WORKER) % len(PORTS)] for number in _NUMBERS)
    return next(port for port in tried if is_free("127.0.0.1", port))


def await_answer(url: str, process: "subprocess.Popen[bytes]", seconds: float = 120) -> None:
    """Return when the process answers 200 at the address."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        assert process.poll() is None, f"the process of {url} ended with {process.returncode}"
        try:
            if httpx.get(url, timeout=seconds, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        sleep(0.05)
    raise TimeoutError(url)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that all workers of all runs see; the kernel releases it when its holder dies."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_server(
    folder: Path, name: str, start: Callable[[], tuple[Server, dict[str, Any]]], ending: int = signal.SIGTERM
) -> Iterator[dict[str, Any]]:
    """Start a server for all workers of this run, or use the one that another worker has started.

    ``folder`` is one that all of them see. What ``start`` returns beside the server is yielded to each of them. The
    last one to leave stops the server, and removes the folder that is named there as ``data``.
    """
    file, lock = folder / f"{name}.json", folder / f"{name}.lock"
    with locked(lock):
        state = json.loads(file.read_text()) if file.exists() else {"users": 0}
        if state["users"] == 0:
            server, facts = start()
            _KEPT.append(server)
            state |= {"pid": server.pid, "facts": facts}
        else:
            run_guard().watch(state["pid"])
        state["users"] += 1
        file.write_text(json.dumps(state))
    try:
        yield state["facts"]
    finally:
        with locked(lock):
            state = json.loads(file.read_text())
            state["users"] -= 1
            file.write_text(json.dumps(state))
            run_guard().release(state["pid"])
            if state["users"] == 0:
                stop_process(state["pid"], ending)
                shutil.rmtree(state["facts"].get("data", ""), ignore_errors=True)
            for server in _KEPT:
                server.poll()


def stop_process(pid: int, number: int, seconds: float = 30) -> None:
    """End a process that may be another worker's child, and return when it has ended."""
    os.kill(pid, number)
    deadline = monotonic() + seconds
    while runs(pid):
        if monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
        sleep(0.02)


def runs(pid: int) -> bool:
    """Return whether a process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
