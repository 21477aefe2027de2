"""The services of a stack as child processes: how they start, become ready and stop, also when a person interrupts."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

import httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from scripts.stack import guard
from scripts.stack.errors import ChildDiedError, NotReadyError, StoppedError

GRACE_SECONDS = 15.0
PRIVATE_UMASK = 0o077
"""What a service writes (the log, reports, the model) is for the user who runs the stack, and nobody else."""
_LAST_LINES = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STEP_SECONDS = 0.1


class Interruption:
    """Ctrl-C, SIGTERM and SIGHUP as a flag that loops read, so that no exception interrupts a step.

    It counts the signals while the `with` block lasts, and puts the former handlers back afterwards.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Return whether a signal came."""
        return self.count > 0

    def __enter__(self) -> Self:
        """Install the handlers. Python allows it only in the main thread."""
        self._before = {number: signal.signal(number, self._count) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> bool:
        """Return true as soon as a signal comes, false after these seconds."""
        deadline = time.monotonic() + seconds
        while not self.requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_STEP_SECONDS, left))
        return self.requested

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


class Guard:
    """The process that stops our children if we end without stopping them."""

    def __init__(self) -> None:
        # -I and -S: no site packages, so it starts in milliseconds, the same everywhere. It needs no variable, except
        # where Python finds its own libraries by one.
        libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            env=libraries,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        """Return the guard itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipe. The guard then stops the processes that are left, and ends."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def add(self, pid: int) -> None:
        """Add a process, the head of its own group, to those that are stopped if we end."""
        self._write(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Remove a process that has ended."""
        self._write(f"-{pid}\n")

    def _write(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Child:
    """A running service.

    It leads its own session, so Ctrl-C in the terminal reaches only us, and we decide in which order services stop.
    With a `log_file` its output goes there, and the log of the last run is kept as `.1`. Without one its output is
    shown.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        guard: Guard,
        log_file: Path | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._guard = guard
        self._process = self._start(command, environment)
        self.pid = self._process.pid
        guard.add(self.pid)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self.log_file is None:
            return _start(command, environment, None)
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with open(self.log_file, "wb", opener=_private) as log:
            return _start(command, environment, log)

    def exit_status(self) -> int | None:
        """Return the exit status, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def last_lines(self) -> tuple[str, ...]:
        """Return the end of the log."""
        if self.log_file is None:
            return ()
        with self.log_file.open(encoding="utf-8", errors="replace") as log:
            return tuple(line.rstrip("\n") for line in deque(log, _LAST_LINES))

    def stop(self, hurried: Callable[[], bool] = lambda: False, grace_seconds: float = GRACE_SECONDS) -> None:
        """Stop the service: SIGTERM, and SIGKILL for its whole group after the grace period or when `hurried`."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_seconds
            while self._process.poll() is None and time.monotonic() < deadline and not hurried():
                time.sleep(0.05)
        # The group may have processes of the service that still run.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.release(self.pid)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _start(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        start_new_session=True,
        umask=PRIVATE_UMASK,
    )


_POLL_SECONDS = 0.2
_PROBE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Service:
    """A child process and the address that answers 200 once it is ready."""

    child: Child
    ready_url: str

    def check(self) -> None:
        """Raise ChildDiedError if the process has ended."""
        status = self.child.exit_status()
        if status is not None:
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ChildDiedError(f"{self.child.name} {how}; its log: {self.child.log_file}", self.child.last_lines())


def await_ready(
    services: Sequence[Service], timeout_seconds: float, console: Console, interruption: Interruption
) -> None:
    """Return when every service answers; raises ChildDiedError, NotReadyError or StoppedError."""
    deadline = time.monotonic() + timeout_seconds
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress, _client() as client:
        starting = {progress.add_task(f"{service.child.name} is starting", total=1): service for service in services}
        while starting:
            for task, service in list(starting.items()):
                service.check()
                if _answers(client, service.ready_url):
                    _finish(progress, task, service)
                    del starting[task]
            if starting and interruption.wait(_POLL_SECONDS):
                raise StoppedError("stopped while the services were starting")
            if starting and time.monotonic() > deadline:
                late = next(iter(starting.values()))
                raise NotReadyError(
                    f"{late.child.name} did not become ready within {timeout_seconds:g} s: {late.ready_url}",
                    late.child.last_lines(),
                )


def _client() -> httpx.Client:
    return httpx.Client(timeout=_PROBE_TIMEOUT_SECONDS, trust_env=False)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _finish(progress: Progress, task: TaskID, service: Service) -> None:
    progress.update(task, completed=1, description=f"{service.child.name} is ready")
