"""When each request of an open-loop load is due, whatever the answers to the earlier ones take."""

import asyncio
import time
from collections.abc import AsyncIterator


async def due_times(rate: float, count: int) -> AsyncIterator[float]:
    """Yield `count` times, `rate` per second and evenly spaced, each as soon as it has come.

    A time is what `time.perf_counter` said or will say when the request is due. The schedule never shifts:
    after a stall the overdue times are yielded at once, so that their lateness shows in the latencies instead
    of vanishing from them (Tene, "How NOT to Measure Latency": coordinated omission).
    """
    start = time.perf_counter()
    for index in range(count):
        due = start + index / rate
        # Sleeping for zero seconds lets the senders run even while the schedule is behind.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        yield due
