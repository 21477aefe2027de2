import asyncio
import time
from itertools import pairwise

import pytest

from scripts.load.run import due_times


async def collect(rate: float, count: int) -> list[tuple[float, float]]:
    return [(due, time.perf_counter()) async for due in due_times(rate, count)]


def test_times_are_evenly_spaced_and_never_early() -> None:
    times = asyncio.run(collect(200, 60))
    dues = [due for due, _ in times]
    gaps = [later - earlier for earlier, later in pairwise(dues)]
    assert gaps == pytest.approx([1 / 200] * 59)
    assert all(seen >= due - 1e-6 for due, seen in times)


def test_thousands_a_second_keep_to_the_schedule() -> None:
    begun = time.perf_counter()
    times = asyncio.run(collect(4000, 2000))
    assert len(times) == 2000
    assert times[-1][0] - times[0][0] == pytest.approx(1999 / 4000)
    # Half a second of schedule; the rest is room for a busy machine.
    assert 0.45 < time.perf_counter() - begun < 3


def test_pacing_sleeps_in_place_of_spinning() -> None:
    begun = time.process_time()
    asyncio.run(collect(20, 10))
    assert time.process_time() - begun < 0.2


def test_a_stall_does_not_shift_the_schedule() -> None:
    async def stalled() -> list[tuple[float, float]]:
        seen = []
        async for due in due_times(100, 30):
            if len(seen) == 5:
                time.sleep(0.1)  # noqa: ASYNC251 - the stall that the schedule must survive
            seen.append((due, time.perf_counter()))
        return seen

    seen = asyncio.run(stalled())
    assert seen[-1][0] - seen[0][0] == pytest.approx(0.29)
    assert max(now - due for due, now in seen) > 0.09


def test_others_run_while_the_schedule_is_behind() -> None:
    async def race() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for _ in due_times(1e9, 100):
            pass
        task.cancel()
        return turns

    assert asyncio.run(race()) > 50
