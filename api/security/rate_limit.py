"""Rate limits: a token bucket of rows for each key."""

from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic

from api.security.keys import ApiKey

BURST_SECONDS = 10.0
"""A bucket holds the rows of this many seconds, so a caller who sent nothing may send that many at once."""


class Bucket:
    """A token bucket: the rows that one key may still send.

    A request is let in while any row is left, and takes all its rows, even if fewer are left: the next request waits
    until the difference has been refilled. So a batch larger than the bucket passes, and is paid for afterwards.
    """

    def __init__(self, rows_per_second: float, clock: Callable[[], float]) -> None:
        self.rows_per_second = rows_per_second
        self._clock = clock
        self._capacity = max(rows_per_second * BURST_SECONDS, 1.0)
        self._rows_left = self._capacity
        self._filled_at = clock()

    def wait_seconds(self) -> float:
        """Take one row and return 0, or return the seconds until there is one."""
        now = self._clock()
        self._rows_left = min(self._capacity, self._rows_left + (now - self._filled_at) * self.rows_per_second)
        self._filled_at = now
        if self._rows_left < 1.0:
            return (1.0 - self._rows_left) / self.rows_per_second
        self._rows_left -= 1.0
        return 0.0

    def charge(self, rows: int) -> None:
        """Take the rows beyond the first of a request that was let in."""
        self._rows_left -= max(rows - 1, 0)


_bucket: ContextVar[Bucket | None] = ContextVar("bucket", default=None)
"""The bucket of the caller of the current request; each request is served in its own context."""


def charge_rows(rows: int) -> None:
    """Charge the caller of the current request, if it has a limit, for the rows of its request."""
    bucket = _bucket.get()
    if bucket is not None:
        bucket.charge(rows)


class RateLimits:
    """The buckets of all keys in this process. A rate of the key itself takes precedence over the general one."""

    def __init__(self, rows_per_second: float | None, clock: Callable[[], float] = monotonic) -> None:
        self._rows_per_second = rows_per_second
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def wait_seconds(self, key: ApiKey) -> float:
        """Let a request of this key in and return 0, or return the seconds it must wait."""
        rate = key.rows_per_second or self._rows_per_second
        if rate is None:
            return 0.0
        bucket = self._buckets.get(key.sha256)
        if bucket is None or bucket.rows_per_second != rate:
            bucket = self._buckets[key.sha256] = Bucket(rate, self._clock)
        _bucket.set(bucket)
        return bucket.wait_seconds()
