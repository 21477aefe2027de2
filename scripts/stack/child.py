"""One service as a child process: its own process group, its log file, its orderly end."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from scripts.stack import guard

GRACE_SECONDS = 15.0
_LAST_LINES = 20


class Guard:
    """The process that stops our children if we end without doing it ourselves."""

    def __init__(self) -> None:
        # -I and -S: no site packages and no environment, so it starts in milliseconds and cannot be misled.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
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
        """Close the pipe, on which the guard stops what is still named and ends."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def name(self, pid: int) -> None:
        """Have this process, the head of its own group, stopped if we end."""
        self._tell(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Child:
    """A running service.

    It leads its own session, so Ctrl-C in the terminal reaches only us and we decide the order of the end.
    With a `log_file` its output goes there and the log of the run before is kept as `.1`; without one it is
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
        guard.name(self.pid)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self.log_file is None:
            return _start(command, environment, None)
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("wb") as log:
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
        """End the service: SIGTERM, and SIGKILL for its whole group after the grace or when `hurried`."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_seconds
            while self._process.poll() is None and time.monotonic() < deadline and not hurried():
                time.sleep(0.05)
        # The group may hold processes of the service that outlived it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.release(self.pid)


def _start(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        start_new_session=True,
    )
