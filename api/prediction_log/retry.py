"""The retry policy of windows: how long one that failed waits, and when it no longer holds the others up."""

from datetime import timedelta
from enum import StrEnum

FIRST_WAIT, MAX_WAIT = timedelta(seconds=2), timedelta(minutes=5)
DEFERRED_WAIT = timedelta(hours=1)
FAULTS_UNTIL_DEFERRED = 5
"""Faults of its own after which a window steps aside: the ones after it are taken first."""
MAX_FAULTS = FAULTS_UNTIL_DEFERRED + 24
"""Faults of its own after which a window is given up: it has stood aside for a day."""


class FailureCause(StrEnum):
    """What kept a window from being posted."""

    SURROUNDINGS = "surroundings"
    """Something that every window needs: Evidently UI, the log, the disk. Trying another window would not help."""
    WINDOW = "window"
    """This window: it cannot be measured, its snapshot is not taken, or the process died over it."""


def wait_after(trouble: FailureCause, tries: int, faults: int) -> timedelta | None:
    """Return how long until the next try, None where there is none; both counts include the try that failed.

    Waits double from 4 s up to 5 min. There is no jitter, as one process at a time tries one window at a time.
    """
    if trouble == FailureCause.WINDOW and faults >= MAX_FAULTS:
        return None
    if trouble == FailureCause.WINDOW and faults >= FAULTS_UNTIL_DEFERRED:
        return DEFERRED_WAIT
    doubled: timedelta = FIRST_WAIT * 2 ** min(tries, 10)
    return min(doubled, MAX_WAIT)
