"""Loads against a small real server on loopback whose answers each test decides."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise, repeat
from types import SimpleNamespace

import pytest

from scripts.load.run import Plan, due_times, run_load
from scripts.load.scenarios import FEEDBACK, PREDICT, Call, Expectation
from scripts.load.summary import TRANSPORT_ERROR, Summary

Answer = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
CALL = Call(PREDICT, b'{"a":1}', ("steady",), ("yes",))


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
                status, body = await answer(head.split(" ")[1], await reader.readexactly(length))
                kind = "application/problem+json" if status >= 400 else "application/json"
                lines = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(lines.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        running.close()


async def predicted(path: str, body: bytes) -> tuple[int, bytes]:
    if path == FEEDBACK:
        labels = json.loads(body)["labels"]
        return 200, json.dumps({"accepted": len(labels), "unknown": []}).encode()
    return 200, b'{"prediction_id": "p"}'


def played(answer: Answer, call: Call = CALL, stop_after: float | None = None, **plan: float) -> Summary:
    async def play() -> Summary:
        stop = asyncio.Event()
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, stop.set)
        values = {"rate": 100, "duration_seconds": 0.3, "label_delay_seconds": 0, "concurrency": 4} | plan
        async with server(answer) as url:
            return await run_load(url, repeat(call), Plan("steady", **values), stop, lambda *_: None)  # type: ignore[arg-type]

    return asyncio.run(asyncio.wait_for(play(), 30))


def test_every_request_of_the_plan_is_sent_and_every_label_follows() -> None:
    summary = played(predicted)
    assert summary.statuses == {"200": 30}
    assert summary.rows == {"steady": 30}
    assert (summary.labels.sent, summary.labels.accepted) == (30, 30)
    assert summary.exit_status() == 0


def test_labels_wait_for_their_delay() -> None:
    arrivals: list[float] = []

    async def answer(path: str, body: bytes) -> tuple[int, bytes]:
        arrivals.append(asyncio.get_running_loop().time() if path == FEEDBACK else -1)
        return await predicted(path, body)

    async def moment() -> float:
        return asyncio.get_running_loop().time()

    begun = asyncio.run(moment())
    played(answer, duration_seconds=0.05, label_delay_seconds=0.5)
    assert max(arrivals) - begun >= 0.5


def test_latency_counts_from_the_due_time_so_a_stuck_api_cannot_hide() -> None:
    async def slow(path: str, body: bytes) -> tuple[int, bytes]:
        await asyncio.sleep(0.1)
        return await predicted(path, body)

    # One connection serves 10 a second; 20 requests due within 0.2 s wait up to 1.8 s for it.
    summary = played(slow, duration_seconds=0.2, concurrency=1)
    assert summary.latency_seconds()["max"] > 1.5
    assert summary.latency_seconds()["p50"] > 0.5
    assert summary.late > 10


def test_what_waits_longer_than_the_time_out_is_dropped_and_counted() -> None:
    async def slow(path: str, body: bytes) -> tuple[int, bytes]:
        await asyncio.sleep(0.2)
        return await predicted(path, body)

    summary = played(slow, concurrency=1, timeout_seconds=0.5)
    assert summary.dropped > 20
    assert summary.sent + summary.dropped == 30


@pytest.mark.parametrize("status", [500, 503, 422])
def test_another_answer_than_200_is_a_failure(status: int) -> None:
    async def refuse(path: str, body: bytes) -> tuple[int, bytes]:
        return status, b"{}"

    summary = played(refuse, duration_seconds=0.05)
    assert summary.statuses == {str(status): 5}
    assert summary.failures == 5
    assert summary.exit_status() == 1


def test_an_answer_that_cannot_be_read_is_a_failure_not_a_crash() -> None:
    async def nonsense(path: str, body: bytes) -> tuple[int, bytes]:
        return 200, b"<html>"

    assert played(nonsense, duration_seconds=0.05).failures == 5


def test_a_closed_port_gives_transport_errors() -> None:
    async def play() -> Summary:
        async with server(predicted) as url:
            pass
        return await run_load(url, repeat(CALL), Plan("steady", 100, 0.05, 0, 4), asyncio.Event(), lambda *_: None)

    summary = asyncio.run(play())
    assert summary.statuses == {TRANSPORT_ERROR: 5}
    assert summary.exit_status() == 1


def test_a_bad_request_must_be_refused_with_a_problem_document() -> None:
    async def refuse(path: str, body: bytes) -> tuple[int, bytes]:
        return 422, b"{}"

    bad = Call(PREDICT, b"{", ("not JSON",), expected=Expectation.REFUSAL)
    assert played(refuse, bad, duration_seconds=0.05).failures == 0
    accepted = played(predicted, bad, duration_seconds=0.05)
    assert accepted.unexpected == {"not JSON: 200 where 4xx is expected": 5}


def test_an_unknown_prediction_id_must_be_listed() -> None:
    async def listed(path: str, body: bytes) -> tuple[int, bytes]:
        return 200, b'{"accepted": 0, "unknown": ["x"]}'

    unknown = Call(FEEDBACK, b'{"labels": [1]}', ("unknown prediction id",), expected=Expectation.UNKNOWN_ID)
    assert played(listed, unknown, duration_seconds=0.05).failures == 0
    assert played(predicted, unknown, duration_seconds=0.05).failures == 5


def test_an_early_end_keeps_what_came_so_far_and_counts_the_labels_left() -> None:
    summary = played(predicted, stop_after=0.3, duration_seconds=60, label_delay_seconds=60)
    assert summary.interrupted
    assert 5 < summary.sent < 100
    assert summary.labels.unsent == summary.sent
    assert summary.exit_status() == 130


def test_an_early_end_does_not_wait_for_an_api_that_never_answers() -> None:
    async def silent(path: str, body: bytes) -> tuple[int, bytes]:
        await asyncio.sleep(60)
        return 200, b""

    summary = played(silent, stop_after=0.2, duration_seconds=60, timeout_seconds=60)
    assert summary.interrupted
    assert summary.sent == 0


async def collect(rate: float, count: int) -> list[tuple[float, float]]:
    return [(due, time.perf_counter()) async for due in due_times(rate, count)]


def test_times_are_evenly_spaced_and_never_early() -> None:
    times = asyncio.run(collect(200, 60))
    dues = [due for due, _ in times]
    gaps = [later - earlier for earlier, later in pairwise(dues)]
    assert gaps == pytest.approx([1 / 200] * 59)
    assert all(seen >= due - 1e-6 for due, seen in times)


class LateClock:
    """A clock on which time passes only in sleeps, each of which lasts a millisecond too long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr("scripts.load.run.time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr("scripts.load.run.asyncio", SimpleNamespace(sleep=self._sleep))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + 0.001 if seconds else 0.0


def test_sleeps_that_last_too_long_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LateClock(monkeypatch)
    dues = [due for due, _ in asyncio.run(collect(4000, 2000))]
    assert len(dues) == 2000
    assert dues[-1] - dues[0] == pytest.approx(1999 / 4000)
    assert clock.now == pytest.approx(1999 / 4000, abs=0.0011)


def test_pacing_sleeps_in_place_of_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LateClock(monkeypatch)
    asyncio.run(collect(20, 10))
    assert clock.slept == pytest.approx([0.0] + 9 * [0.05], abs=0.0011)


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
