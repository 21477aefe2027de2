"""Rate limits: a token bucket of rows for each key."""

from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic

from api.security.keys import ApiKey

BURST_SECONDS = 10.0
"""A bucket holds what comes in during this time, so that a caller who was quiet may send that much at once."""


class Bucket:
    """What one key may still send.

    A request is let in while something is left, and takes as many rows as it has, even more than are left: what is
    owed has to come in before the next one. So a batch larger than the bucket passes, and is paid for afterwards.
    """

    def __init__(self, rows_per_second: float, clock: Callable[[], float]) -> None:
        self.rows_per_second = rows_per_second
        self._clock = clock
        self._most = max(rows_per_second * BURST_SECONDS, 1.0)
        self._left = self._most
        self._filled_at = clock()

    def wait_seconds(self) -> float:
        """Take one row and return 0, or return how long it takes until there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._filled_at) * self.rows_per_second)
        self._filled_at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self.rows_per_second
        self._left -= 1.0
        return 0.0

    def charge(self, rows: int) -> None:
        """Take the rows beyond the first of a request that was let in."""
        self._left -= max(rows - 1, 0)


_bucket: ContextVar[Bucket | None] = ContextVar("bucket", default=None)
"""Of the caller whose request is being served; every request is served in a context of its own."""


def charge_rows(rows: int) -> None:
    """Charge the caller, if it has a limit, for the rows that its request turned out to have."""
    bucket = _bucket.get()
    if bucket is not None:
        bucket.charge(rows)


class RateLimits:
    """The buckets of all keys, in this process. A key's own rate comes before the general one."""

    def __init__(self, rows_per_second: float | None, clock: Callable[[], float] = monotonic) -> None:
        self._rows_per_second = rows_per_second
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def wait_seconds(self, key: ApiKey) -> float:
        """Let a request of this key in and return 0, or return how long it has to wait."""
        rate = key.rows_per_second or self._rows_per_second
        if rate is None:
            return 0.0
        bucket = self._buckets.get(key.sha256)
        if bucket is None or bucket.rows_per_second != rate:
            bucket = self._buckets[key.sha256] = Bucket(rate, self._clock)
        _bucket.set(bucket)
        return bucket.wait_seconds()
