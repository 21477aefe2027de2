"""Owns when alerts are told: on a thread of its own, as the beat that renews the lease may wait for nothing."""

import threading
from collections.abc import Callable
from datetime import timedelta


class AlertRounds:
    """While the lease is held, calls ``tell`` at once, then at every ``period`` and whenever it is woken."""

    def __init__(self, tell: Callable[[], None], period: timedelta) -> None:
        self._tell = tell
        self._period_seconds = period.total_seconds()
        self._held = False
        self._stopping = False
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; nothing is told before the lease is held."""
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def hold(self, held: bool) -> None:
        """Say whether this process holds the lease."""
        gained = held and not self._held
        self._held = held
        if gained:
            self._woken.set()

    def wake(self) -> None:
        """Tell now; a call while ``tell`` is under way has it done once more."""
        self._woken.set()

    def stop(self, grace_seconds: float) -> None:
        """End the thread; a post under way gets a few seconds, then goes down with the process."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(grace_seconds)

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(self._period_seconds)
            self._woken.clear()
            if self._held and not self._stopping:
                self._tell()
