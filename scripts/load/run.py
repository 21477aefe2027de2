"""Runs a load, from the first request to the last label; it can be stopped early."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from scripts.load.scenarios import Call
from scripts.load.senders import Connection, LabelSender, Sender
from scripts.load.summary import Summary


async def due_times(rate: float, count: int) -> AsyncIterator[float]:
    """Yield `count` times, `rate` per second and evenly spaced, each as soon as it has come.

    A time is that of `time.perf_counter` at which the request is due. The schedule never shifts: after a stall the
    overdue times are yielded at once, so that the latencies include their lateness (Tene, "How NOT to Measure
    Latency": coordinated omission).
    """
    start = time.perf_counter()
    for index in range(count):
        due = start + index / rate
        # Sleeping for zero seconds lets the senders run even while the schedule is behind.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        yield due


_REPORT_SECONDS = 0.2
_GRACE_SECONDS = 2.0

Waiting = asyncio.Queue[tuple[float, Call] | None]
Task = asyncio.Task[None]
Watcher = Callable[[Summary, str], None]
"""Called five times a second with the counts so far and the current step."""


@dataclass(frozen=True)
class Plan:
    """The load to send: `rate` in requests a second, times in seconds, `concurrency` in requests at once."""

    scenario: str
    rate: float
    duration_seconds: float
    label_delay_seconds: float
    concurrency: int
    timeout_seconds: float = 10.0

    @property
    def requests(self) -> int:
        """Return how many requests the plan has; at least one."""
        return max(round(self.rate * self.duration_seconds), 1)


async def run_load(
    url: str, calls: Iterator[Call], plan: Plan, stop: asyncio.Event, watch: Watcher, *, key: str | None = None
) -> Summary:
    """Send the calls by the plan and return the counts; `stop`, once set, ends the load early.

    `key` is the API key, if the API needs one.
    """
    summary = Summary(plan.scenario, plan.requests)
    async with AsyncExitStack() as opened:

        async def connect() -> Connection:
            return await opened.enter_async_context(Connection(url, plan.timeout_seconds, key))

        labels = LabelSender(await connect(), plan.label_delay_seconds, summary)
        senders = [
            Sender(await connect(), summary, labels.add, plan.timeout_seconds)
            for _ in range(min(plan.concurrency, plan.requests))
        ]
        await _Run(calls, plan, senders, labels).play(summary, stop, watch)
    return summary


class _Run:
    """The tasks of one load: the schedule, the senders, the labels, and the wait for an early end."""

    def __init__(self, calls: Iterator[Call], plan: Plan, senders: list[Sender], labels: LabelSender) -> None:
        self._calls = calls
        self._plan = plan
        self._senders = senders
        self._labels = labels
        # Unbounded on purpose: a full queue would hold the schedule back. Overdue entries are dropped.
        self._waiting: Waiting = asyncio.Queue()

    async def play(self, summary: Summary, stop: asyncio.Event, watch: Watcher) -> None:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            labels = group.create_task(self._labels.run())
            schedule = group.create_task(self._keep_schedule())
            senders = [group.create_task(self._send_waiting(sender)) for sender in self._senders]
            watcher = group.create_task(_watch(watch, summary, schedule, senders))
            stopper = group.create_task(self._end_early(stop, summary, schedule, labels, senders))
            await asyncio.wait([schedule])
            for _ in senders:
                self._waiting.put_nowait(None)
            await asyncio.wait(senders)
            summary.elapsed_seconds = time.perf_counter() - start
            self._labels.close()
            await asyncio.wait([labels])
            watcher.cancel()
            stopper.cancel()
        watch(summary, "done")

    async def _keep_schedule(self) -> None:
        async for due in due_times(self._plan.rate, self._plan.requests):
            self._waiting.put_nowait((due, next(self._calls)))

    async def _send_waiting(self, sender: Sender) -> None:
        while (entry := await self._waiting.get()) is not None:
            await sender.send(*entry)

    async def _end_early(
        self, stop: asyncio.Event, summary: Summary, schedule: Task, labels: Task, senders: list[Task]
    ) -> None:
        await stop.wait()
        summary.interrupted = True
        schedule.cancel()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._labels.abandon()
        labels.cancel()
        # Requests in flight get a moment to be answered, but a person waits for the end.
        await asyncio.sleep(_GRACE_SECONDS)
        for sender in senders:
            sender.cancel()


async def _watch(watch: Watcher, summary: Summary, schedule: Task, senders: list[Task]) -> None:
    while True:
        sending = not schedule.done() or any(not sender.done() for sender in senders)
        watch(summary, "sending" if sending else "waiting to send labels")
        await asyncio.sleep(_REPORT_SECONDS)
