"""True labels on their way: held back for the delay, then sent in order, many to a request."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import httpx
import orjson

from scripts.load.calls import FEEDBACK
from scripts.load.connection import Connection
from scripts.load.pool import LabelValue
from scripts.load.summary import Summary

_PER_REQUEST = 1000
_GATHER_SECONDS = 0.2


class LabelSender:
    """Sends each label `delay_seconds` after the answer to its prediction.

    Labels that come due within 0.2 s of each other travel together, so a high rate needs few requests.
    """

    def __init__(self, connection: Connection, delay_seconds: float, summary: Summary) -> None:
        self._connection = connection
        self._delay_seconds = delay_seconds
        self._summary = summary
        self._waiting: deque[tuple[float, str, LabelValue]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def add(self, labels: Iterable[tuple[str, LabelValue]]) -> None:
        """Take labels, as (prediction id, label), whose predictions were answered just now."""
        due = time.perf_counter() + self._delay_seconds
        self._waiting.extend((due, prediction_id, label) for prediction_id, label in labels)
        self._arrived.set()

    def close(self) -> None:
        """Say that no further labels will be added."""
        self._closed = True
        self._arrived.set()

    def abandon(self) -> None:
        """Give up the labels that still wait, and count them."""
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
        taken: list[dict[str, Any]] = []
        while self._waiting and self._waiting[0][0] <= now and len(taken) < _PER_REQUEST:
            _, prediction_id, label = self._waiting.popleft()
            taken.append({"prediction_id": prediction_id, "label": label})
        return taken

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
        self._summary.blame(what, f"{what}: {detail[:200]}")
