"""Sends the requests and the labels of a load, and counts what comes back."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from scripts.load.pool import LabelValue
from scripts.load.scenarios import FEEDBACK, PREDICT_BATCH, Call, Expectation
from scripts.load.summary import TRANSPORT_ERROR, Summary
from vigie.client import key_header

PROBLEM = "application/problem+json"

LabelSink = Callable[[Iterable[tuple[str, LabelValue]]], None]

_HEADERS = {"Content-Type": "application/json", "Accept": "*/*"}


@cache
def _trust() -> ssl.SSLContext:
    """Return the certificates to trust. Reading them takes 20 ms, so it is done once for all connections."""
    return httpx.create_ssl_context(trust_env=False)


class Connection:
    """Posts JSON bodies over a connection of its own.

    It uses the transport of httpx without its client and without a pool. Redirects, cookies and a pool of 64
    connections cost twice as much time as sending does (0.9 ms instead of 2.7 ms a request, measured), and the
    latency of a slow sender would count as that of the API. It ignores the proxies of the environment.
    """

    def __init__(self, url: str, timeout_seconds: float, key: str | None = None) -> None:
        self._headers = _HEADERS | key_header(key)
        self._base = url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._timeout = httpx.Timeout(timeout_seconds).as_dict()
        self._transport = httpx.AsyncHTTPTransport(
            verify=_trust(), limits=httpx.Limits(max_connections=1), trust_env=False
        )

    async def __aenter__(self) -> Self:
        """Return the connection; it is opened by its first request."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self._transport.__aexit__(kind, error, trace)

    async def post(self, path: str, body: bytes) -> httpx.Response:
        """Send one body and return the whole answer, whatever its status; raises httpx.TransportError."""
        url = self._urls.get(path) or self._urls.setdefault(path, httpx.URL(self._base + path))
        extensions = {"timeout": self._timeout}
        request = httpx.Request("POST", url, headers=self._headers, content=body, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        response.request = request
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response


class Sender:
    """Sends calls over one connection, one at a time, and keeps the summary.

    A request that still waits for a free connection `timeout_seconds` after it was due is dropped and counted,
    so that a load against a stuck API ends.
    """

    def __init__(self, connection: Connection, summary: Summary, sink: LabelSink, timeout_seconds: float) -> None:
        self._connection = connection
        self._summary = summary
        self._sink = sink
        self._timeout_seconds = timeout_seconds

    async def send(self, due: float, call: Call) -> None:
        """Send one call that was due at `due`, a time of `time.perf_counter`."""
        lateness = time.perf_counter() - due
        if lateness > self._timeout_seconds:
            self._summary.dropped += 1
            return
        try:
            response = await self._connection.post(call.path, call.body)
        except httpx.TransportError as error:
            self._summary.record(TRANSPORT_ERROR, time.perf_counter() - due, lateness)
            self._record_failure(call, type(error).__name__, str(error))
            return
        self._summary.record(str(response.status_code), time.perf_counter() - due, lateness)
        self._summary.rows.update(call.kinds)
        try:
            self._examine(call, response)
        except (ValueError, KeyError, TypeError) as error:
            self._record_failure(call, "unreadable answer", f"{error!r} in {response.text}")

    def _examine(self, call: Call, response: httpx.Response) -> None:
        if failure := _failure_of(call, response):
            self._record_failure(call, failure, response.text)
        elif any(label is not None for label in call.labels):
            self._sink(list(_labelled(call, response.json())))

    def _record_failure(self, call: Call, what: str, detail: str) -> None:
        kind = call.kinds[0] if len(set(call.kinds)) == 1 else "batch"
        self._summary.record_failure(f"{kind}: {what}", f"{kind}: {what}: {detail[:200]}")


def _failure_of(call: Call, response: httpx.Response) -> str | None:
    """Return what is wrong with an answer, None if it is the expected one."""
    status = response.status_code
    media_type = response.headers.get("content-type", "").partition(";")[0]
    match call.expected:
        case Expectation.REFUSAL:
            if not 400 <= status < 500:
                return f"{status} where 4xx is expected"
            return None if media_type == PROBLEM else f"{status} as {media_type or 'nothing'}, not {PROBLEM}"
        case Expectation.UNKNOWN_ID:
            if status != httpx.codes.OK:
                return f"{status} where 200 is expected"
            answer = response.json()
            return None if answer["accepted"] == 0 and answer["unknown"] else "200 without the id in its list"
        case Expectation.SUCCESS:
            return None if status == httpx.codes.OK else f"{status} where 200 is expected"


def _labelled(call: Call, answer: dict[str, Any]) -> Iterable[tuple[str, LabelValue]]:
    predictions = answer["predictions"] if call.path == PREDICT_BATCH else [answer]
    for prediction, label in zip(predictions, call.labels, strict=True):
        if label is not None:
            yield prediction["prediction_id"], label


_PER_REQUEST = 1000
_GATHER_SECONDS = 0.2


class LabelSender:
    """Sends each label `delay_seconds` after the answer to its prediction.

    Labels that are due within 0.2 s of each other share a request.
    """

    def __init__(self, connection: Connection, delay_seconds: float, summary: Summary) -> None:
        self._connection = connection
        self._delay_seconds = delay_seconds
        self._summary = summary
        self._waiting: deque[tuple[float, str, LabelValue]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def add(self, labels: Iterable[tuple[str, LabelValue]]) -> None:
        """Add labels, as (prediction id, label), whose predictions were answered just now."""
        due = time.perf_counter() + self._delay_seconds
        self._waiting.extend((due, prediction_id, label) for prediction_id, label in labels)
        self._arrived.set()

    def close(self) -> None:
        """End `run` once the labels that were added are sent."""
        self._closed = True
        self._arrived.set()

    def abandon(self) -> None:
        """Drop the labels that still wait, and count them as unsent."""
        self._summary.labels.unsent += len(self._waiting)
        self._waiting.clear()
        self.close()

    async def run(self) -> None:
        """Send labels as they come due, until closed and empty."""
        while self._waiting or not self._closed:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await asyncio.sleep(max(self._waiting[0][0] - time.perf_counter(), 0.0) + _GATHER_SECONDS)
            await self._send(self._take_due())

    def _take_due(self) -> list[dict[str, Any]]:
        now = time.perf_counter()
        due: list[dict[str, Any]] = []
        while self._waiting and self._waiting[0][0] <= now and len(due) < _PER_REQUEST:
            _, prediction_id, label = self._waiting.popleft()
            due.append({"prediction_id": prediction_id, "label": label})
        return due

    async def _send(self, labels: list[dict[str, Any]]) -> None:
        if not labels:
            return
        counts = self._summary.labels
        counts.sent += len(labels)
        try:
            response = await self._connection.post(FEEDBACK, orjson.dumps({"labels": labels}))
            response.raise_for_status()
            answer = response.json()
            counts.accepted += answer["accepted"]
            counts.unknown += len(answer["unknown"])
        except httpx.HTTPStatusError as error:
            self._fail(len(labels), f"labels: {error.response.status_code}", error.response.text)
        except httpx.TransportError as error:
            self._fail(len(labels), f"labels: {type(error).__name__}", str(error))
        except (ValueError, KeyError, TypeError) as error:
            self._fail(len(labels), "labels: unreadable answer", repr(error))

    def _fail(self, rows: int, what: str, detail: str) -> None:
        self._summary.labels.failed += rows
        self._summary.record_failure(what, f"{what}: {detail[:200]}")
