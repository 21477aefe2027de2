"""Ctrl-C, SIGTERM and SIGHUP as a question that loops ask, so that no exception lands between two steps."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STEP_SECONDS = 0.1


class Interruption:
    """Counts requests to end while it is entered; the former handlers come back afterwards."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Return whether an end was asked for."""
        return self.count > 0

    def __enter__(self) -> Self:
        """Install the handlers; works only in the main thread, as Python demands."""
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> bool:
        """Return true as soon as an end is asked for, false after these seconds."""
        deadline = time.monotonic() + seconds
        while not self.requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_STEP_SECONDS, left))
        return self.requested

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
