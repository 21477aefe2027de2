"""A small process that stops the children of its parent when the parent ends without doing so.

It reads its standard input: "+PID" adds a process to stop, the head of its own group, and "-PID" removes it. The
kernel closes that pipe when the parent ends, even after SIGKILL, on every Unix. Then each process that is left gets
SIGTERM and, if its group still exists after the grace period, SIGKILL.

Runs by path in an isolated interpreter, so it imports only the standard library.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 10.0


def named_groups(lines: Iterable[str]) -> list[int]:
    """Return the processes that are left when the lines end."""
    named: list[int] = []
    for line in lines:
        sign, number = line[0], int(line[1:])
        if sign == "+":
            named.append(number)
        elif number in named:
            named.remove(number)
    return named


def stop_groups(groups: list[int], grace_seconds: float) -> None:
    """Ask the heads of the groups to end, wait, and kill what is left of the groups."""
    for group in groups:
        _signal(os.kill, group, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(_signal(os.kill, group, 0) for group in groups):
        time.sleep(0.05)
    for group in groups:
        _signal(os.killpg, group, signal.SIGKILL)


def _signal(send: object, target: int, number: int) -> bool:
    try:
        send(target, number)  # type: ignore[operator]
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    # A signal to the terminal or by name, meant for the parent, must not stop the guard before its work.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    stop_groups(named_groups(sys.stdin), GRACE_SECONDS)
