"""The demo's folders: one model for all runs, a fresh folder for each run, the oldest runs removed."""

import fcntl
import shutil
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self

RUNS_KEPT = 5
_LOCK = "running.lock"


class RunFolder:
    """A fresh folder for one run, locked for as long as the run lasts.

    A fresh one because an old log would make the API first catch up on the hours since. The newest five runs
    stay for a later look; older ones are removed, never one whose demo still runs.
    """

    def __init__(self, root: Path) -> None:
        self._runs = root / "runs"
        self.path = self._runs / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._lock: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        """Create and lock the folder, and remove what is too old; raises OSError if it cannot be written."""
        self.path.mkdir(parents=True)
        self._lock = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for old in sorted(self._runs.iterdir())[:-RUNS_KEPT]:
            _remove_unless_running(old)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder and leave it where it is."""
        if self._lock:
            self._lock.close()


def _remove_unless_running(folder: Path) -> None:
    lock = folder / _LOCK
    if not lock.is_file():
        # Not a run of ours, so not ours to remove.
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)
