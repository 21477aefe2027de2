"""The retry policy of windows: how long a failed window waits, and when the others no longer wait for it."""

from datetime import timedelta
from enum import StrEnum

FIRST_WAIT, MAX_WAIT = timedelta(seconds=2), timedelta(minutes=5)
DEFERRED_WAIT = timedelta(hours=1)
FAULTS_UNTIL_DEFERRED = 5
"""Faults of its own after which a window is deferred: the ones after it are processed first."""
MAX_FAULTS = FAULTS_UNTIL_DEFERRED + 24
"""Faults of its own after which a window is given up: it was deferred for a day."""


class FailureCause(StrEnum):
    """Why a try of a window failed."""

    SURROUNDINGS = "surroundings"
    """Something that every window needs: Evidently UI, the log, the disk. Another window would fail too."""
    WINDOW = "window"
    """This window: it cannot be measured, Evidently UI rejects its snapshot, or the process died during it."""


def wait_after(cause: FailureCause, tries: int, faults: int) -> timedelta | None:
    """Return the wait until the next try, None if there is none; both counts include the try that failed.

    Waits double from 4 s up to 5 min. There is no jitter, as one process at a time tries one window at a time.
    """
    if cause == FailureCause.WINDOW and faults >= MAX_FAULTS:
        return None
    if cause == FailureCause.WINDOW and faults >= FAULTS_UNTIL_DEFERRED:
        return DEFERRED_WAIT
    doubled: timedelta = FIRST_WAIT * 2 ** min(tries, 10)
    return min(doubled, MAX_WAIT)
