"""A small process that outlives its parent just long enough to stop what the parent had started.

It reads its standard input: "+PID" names a process (the head of its own group) to be stopped, "-PID" takes
it back. The kernel closes that pipe when the parent ends, however it ends: also after SIGKILL, and on every
Unix. Then each named process gets SIGTERM and, if its group is not gone after the grace, SIGKILL.

Runs by path in an isolated interpreter, so it imports only the standard library.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 10.0


def named_groups(lines: Iterable[str]) -> list[int]:
    """Return the processes still named when the lines end."""
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
    # Whoever stops the parent by its terminal or its name must not stop the guard before its work.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    stop_groups(named_groups(sys.stdin), GRACE_SECONDS)
