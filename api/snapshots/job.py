"""Owns what the snapshot worker process is told to do, and what it needs for it.

This module is imported by the API as well as by its worker, so it imports nothing that measures: Evidently takes
seconds and hundreds of megabytes, and nothing that answers a request may wait for it.
"""

import os
import threading
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGTERM, signal

from api.log_output import log_to_stderr
from api.snapshots.policy import Policy
from api.snapshots.removals import Removals

LONGEST_RETENTION_SECONDS = 10.0
RETENTION_SHARE = 0.9


NICENESS = 10
"""How far the worker stands back: where both want the same core, the API gets nine tenths of it."""


@dataclass(frozen=True, slots=True)
class JobConfig:
    """What the worker needs, as plain values that can be sent to another process."""

    database_url: str
    model_dir: Path
    evidently_url: str
    evidently_secret: str | None
    evidently_timeout_seconds: float
    project_name: str | None
    reports_dir: Path
    min_rows: int
    min_labels: int
    max_rows: int
    windows_per_beat: int
    policy: Policy
    holder: str
    heartbeat: timedelta

    @property
    def lease_lifetime(self) -> timedelta:
        """How long the lease lasts unless it is renewed, which happens at each heartbeat."""
        return 2 * self.heartbeat


def retention_seconds(heartbeat: timedelta) -> float:
    """Return how long removing what is old may keep the worker from the next window; what is left waits for a beat.

    A run that ends shortly before a beat goes on at once, while one that ends after it would rest until the next.
    """
    return min(RETENTION_SHARE * heartbeat.total_seconds(), LONGEST_RETENTION_SECONDS)


def prepare_worker() -> None:
    """Make this process the worker: it leaves signals to its parent, and ends when its parent does."""
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    os.nice(NICENESS)
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently reports its use otherwise
    log_to_stderr()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def warm_up(config: JobConfig) -> list[str]:
    """Import what a snapshot needs and show the project in Evidently UI; no window is touched, so no outcome."""
    from api.snapshots.kit import kit_of  # noqa: PLC0415 - the import, in the worker alone, is the work

    kit_of(config).project.show()
    return []


def take_due_snapshots(config: JobConfig) -> list[str]:
    """Take a beat's share of the due windows, oldest first, and return the outcome of each."""
    from api.snapshots.kit import kit_of  # noqa: PLC0415 - in the worker alone, see above

    return [str(outcome) for outcome in kit_of(config).taker.take_due(config.windows_per_beat)]


def remove_old(config: JobConfig) -> Removals:
    """Remove some of what is old, and return what that was; nothing where another process is at it."""
    from api.snapshots.kit import kit_of  # noqa: PLC0415 - in the worker alone, see above

    return kit_of(config).retention.run(retention_seconds(config.heartbeat)) or Removals()
