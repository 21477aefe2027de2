"""What these tests know of real processes: waiting for a condition, and who is whose child."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]


def eventually(true: Callable[[], object], seconds: float = 120) -> bool:
    """Wait until a condition holds; false if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (done := bool(true())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def children(pid: int) -> dict[str, int]:
    """Return the services that a stack's process has started, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        for module in ("api", "evidently_workspace.ui"):
            if command[1:3] == ["-m", module]:
                found[module] = int(child)
    return found


def environment(**own: str) -> Mapping[str, str]:
    """Return this process's environment without VIGIE_* of the person who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")} | own
