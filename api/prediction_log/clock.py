"""A clock that does not jump: it follows the machine's clock after a jump only once that has stayed there."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

logger = logging.getLogger(__name__)

TOLERANCE = timedelta(minutes=1)
"""A clock that is off by less is being corrected, or was read late; to follow it at once does no harm."""
MIN_JUMP_DURATION = timedelta(minutes=10)
"""How long a jump must last before it is followed. Until then time goes on as if it had not happened."""


def seconds_since_boot() -> float:
    """Return seconds that never jump, and that also pass while the machine sleeps, where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class SteadyClock:
    """Follows a clock of microseconds since the epoch; a jump must last for ``MIN_JUMP_DURATION`` to be followed.

    A clock that jumps ahead for a moment would otherwise close windows of the future, and date rows into them.
    ``elapsed`` gives seconds that do not jump. Several threads may share one.
    """

    def __init__(self, elapsed: Callable[[], float] = seconds_since_boot) -> None:
        self.elapsed = elapsed
        self._lock = threading.Lock()
        self._last: tuple[int, float] | None = None
        self._jump: tuple[int, float] | None = None

    def follow(self, shown: int) -> int:
        """Return the time to use when the clock shows ``shown``; both in microseconds since the epoch."""
        with self._lock:
            at = self.elapsed()
            if self._last is None:
                self._last = shown, at
                return shown
            expected = self._last[0] + round((at - self._last[1]) * 1_000_000)
            if self._believed(shown - expected, at):
                self._last, self._jump = (shown, at), None
                return shown
            return expected

    def _believed(self, gap: int, at: float) -> bool:
        """Whether to follow a clock that is ``gap`` microseconds ahead of what it should show."""
        if _small(gap):
            return True
        if self._jump is None or not _small(gap - self._jump[0]):
            logger.warning("the clock jumped by %.0f s; it is followed if it stays there", gap / 1e6)
            self._jump = gap, at
        if at - self._jump[1] < MIN_JUMP_DURATION.total_seconds():
            return False
        logger.warning("the clock has stayed %.0f s off for %s, so it is followed", gap / 1e6, MIN_JUMP_DURATION)
        return True


CATCHING_UP = 0.5
"""How fast the time of windows passes while it is ahead of the clock: slower, so that the clock catches up with it."""


class WindowTime:
    """The time up to which windows are closed: the clock's, except while closed windows lie in the clock's future.

    They do after a clock was ahead and then was put right. No row may be logged into a closed window, so every row then
    gets the time of the newest end of one. If windows waited for the clock to arrive there, nothing would be measured
    until then. So they are closed all the same, each after twice its length, and their times stay ahead for a while.
    """

    def __init__(self, elapsed: Callable[[], float] = seconds_since_boot) -> None:
        self._elapsed = elapsed
        self._from: tuple[int, float] | None = None

    def follow(self, now: int, closed_until: int) -> int:
        """Return the time to close windows at; all in microseconds since the epoch."""
        ahead = closed_until - now
        if ahead <= 0 or _small(ahead):
            if self._from is not None:
                logger.warning("the clock has caught up with the closed windows: rows have their own time again")
            self._from = None
            return now
        at = self._elapsed()
        if self._from is None:
            logger.error(
                "windows are closed until %.0f s ahead of the clock: a clock was wrong. Rows get the time of the "
                "newest closed window, and windows last twice as long, until the clock has caught up; no row is lost",
                ahead / 1e6,
            )
            self._from = closed_until, at
        time_of_windows = self._from[0] + round(CATCHING_UP * (at - self._from[1]) * 1_000_000)
        if time_of_windows < closed_until:  # another process or a person has closed one meanwhile
            self._from, time_of_windows = (closed_until, at), closed_until
        return time_of_windows


def _small(gap: int) -> bool:
    return abs(timedelta(microseconds=gap)) <= TOLERANCE
