"""Ctrl-C, SIGTERM and SIGHUP as a flag that loops read, so that no exception interrupts a step."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STEP_SECONDS = 0.1


class Interruption:
    """Counts the signals while the `with` block lasts, and puts the former handlers back afterwards."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Return whether a signal came."""
        return self.count > 0

    def __enter__(self) -> Self:
        """Install the handlers. Python allows it only in the main thread."""
        self._before = {number: signal.signal(number, self._count) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> bool:
        """Return true as soon as a signal comes, false after these seconds."""
        deadline = time.monotonic() + seconds
        while not self.requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_STEP_SECONDS, left))
        return self.requested

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
