"""Our own loader, run as a process: keeps connections busy or sends at a fixed rate, and prints its measurements.

`python -m scripts.bench.serving.loader PLAN` with the plan as JSON; the result is JSON on standard output.
"""

import asyncio
import json
import sys
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import uvloop

OK = b"200"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CLOSING_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """What to send: the bodies in turn over `connections`, until `seconds` are over or `requests` are sent.

    With a `rate` a request is due every 1/rate seconds whatever the answers take, and its latency counts from then;
    without one each connection sends when its last answer has come.
    """

    port: int
    path: str
    bodies: str
    connections: int
    seconds: float | None = None
    requests: int | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Seen:
    """The results: latencies in seconds; `refused` are answers that were not 200, `refusal` the first of them."""

    requests: int
    refused: int
    seconds: float
    p50: float
    p99: float
    refusal: str = ""

    @property
    def rate(self) -> float:
        """Answers with 200 a second."""
        return (self.requests - self.refused) / self.seconds


class _Load:
    """The requests still to be sent, and the answers so far."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        lines = Path(plan.bodies).read_bytes().splitlines()
        head = f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nContent-Type: application/json\r\n"
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in lines]
        self.latencies: list[float] = []
        self.refused = 0
        self.refusal = ""
        self.sent = 0
        self.under_way = 0
        self.began = self.until = 0.0
        self.pacing = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle: deque[_Connection] = deque()
        self.due: deque[float] = deque()

    def more(self, now: float) -> bool:
        """Return whether another request may be sent."""
        if self.plan.rate is not None:
            return self.pacing
        return now < self.until if self.plan.requests is None else self.sent < self.plan.requests

    def next_request(self) -> bytes:
        self.sent += 1
        self.under_way += 1
        return self._requests[self.sent % len(self._requests)]

    def answered(self, connection: "_Connection", answer: bytes, due: float) -> None:
        """Count one answer, and use its connection again."""
        now = perf_counter()
        self.latencies.append(now - due)
        if answer[9:12] != OK:
            self.refused += 1
            self.refusal = self.refusal or answer.partition(_HEAD_END)[2][:500].decode(errors="replace")
        self.under_way -= 1
        if self.plan.rate is None:
            if self.more(now):
                connection.send(now)
        elif self.due:
            connection.send(self.due.popleft())
        else:
            self.idle.append(connection)
        self.end_if_over()

    def end_if_over(self) -> None:
        """End when no request is in progress and none is left to send."""
        if not self.under_way and not self.due and not self.more(perf_counter()) and not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        """End with an error."""
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


class _Connection(asyncio.Protocol):
    """One connection with at most one request in progress."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass

    def send(self, due: float) -> None:
        """Send the next request, whose latency counts from `due`."""
        self._due = due
        self._waits = True
        if self._transport is not None:
            self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_HEAD_END)
        if head >= 0:
            start = buffer[:head].lower().find(_LENGTH)
            if start < 0:
                self._load.fail(f"an answer without its length: {buffer[:head]!r}")
                return
            length = int(buffer[start + len(_LENGTH) : head].split(b"\r\n", 1)[0])
            if len(buffer) >= head + len(_HEAD_END) + length:
                self._buffer = b""
                self._waits = False
                self._load.answered(self, buffer, self._due)
                return
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._load.fail(f"the server closed a connection: {exc}")
        elif self in self._load.idle:  # a server may close one that has been idle for some seconds
            self._load.idle.remove(self)


async def run(plan: Plan) -> Seen:
    """Carry the plan out. Raises OSError where the server cannot be reached or closes a connection."""
    loop = asyncio.get_running_loop()
    load = _Load(plan)
    connections = []
    for _ in range(plan.connections):
        transport, connection = await loop.create_connection(lambda: _Connection(load), "127.0.0.1", plan.port)
        connections.append((transport, connection))
    load.began = perf_counter()
    load.until = load.began + (plan.seconds or 0.0)
    if plan.rate is None:
        for _, connection in connections:
            if load.more(load.began):
                connection.send(load.began)
    else:
        load.idle.extend(connection for _, connection in connections)
        await _pace(load, plan.rate)
    load.end_if_over()
    await asyncio.wait_for(load.done, (plan.seconds or 3600) + _CLOSING_SECONDS)
    seconds = perf_counter() - load.began
    for transport, _ in connections:
        transport.abort()
    p50, p99 = np.percentile(load.latencies, (50, 99)).tolist()
    return Seen(len(load.latencies), load.refused, seconds, p50, p99, load.refusal)


async def _pace(load: _Load, rate: float) -> None:
    """Send each request over an idle connection when it is due, or over the next one that becomes idle."""
    number = 0
    while (due := load.began + number / rate) < load.until and not load.done.done():
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        if load.idle:
            load.idle.popleft().send(due)
        else:
            load.due.append(due)
        number += 1
    load.pacing = False


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(uvloop.run(run(Plan(**json.loads(sys.argv[1])))))))
