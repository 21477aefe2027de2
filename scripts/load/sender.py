"""One request and its answer: sent late or on time, counted, judged, and its labels handed on."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from scripts.load.calls import PREDICT_BATCH, Call, Expectation
from scripts.load.connection import Connection
from scripts.load.pool import LabelValue
from scripts.load.summary import TRANSPORT_ERROR, Summary

PROBLEM = "application/problem+json"

LabelSink = Callable[[Iterable[tuple[str, LabelValue]]], None]


class Sender:
    """Sends calls over one connection, one at a time, and keeps the summary.

    A request still waiting for a free connection `patience_seconds` after it was due is dropped and counted,
    so that a load against a stuck API ends.
    """

    def __init__(self, connection: Connection, summary: Summary, sink: LabelSink, patience_seconds: float) -> None:
        self._connection = connection
        self._summary = summary
        self._sink = sink
        self._patience_seconds = patience_seconds

    async def send(self, due: float, call: Call) -> None:
        """Send one call that was due at `due` (on the clock of `time.perf_counter`)."""
        lateness = time.perf_counter() - due
        if lateness > self._patience_seconds:
            self._summary.dropped += 1
            return
        try:
            response = await self._connection.post(call.path, call.body)
        except httpx.TransportError as error:
            self._summary.note(TRANSPORT_ERROR, time.perf_counter() - due, lateness)
            self._blame(call, type(error).__name__, str(error))
            return
        self._summary.note(str(response.status_code), time.perf_counter() - due, lateness)
        self._summary.rows.update(call.kinds)
        try:
            self._judge(call, response)
        except (ValueError, KeyError, TypeError) as error:
            self._blame(call, "unreadable answer", f"{error!r} in {response.text}")

    def _judge(self, call: Call, response: httpx.Response) -> None:
        if fault := _fault(call, response):
            self._blame(call, fault, response.text)
        elif any(label is not None for label in call.labels):
            self._sink(list(_labelled(call, response.json())))

    def _blame(self, call: Call, what: str, detail: str) -> None:
        kind = call.kinds[0] if len(set(call.kinds)) == 1 else "batch"
        self._summary.blame(f"{kind}: {what}", f"{kind}: {what}: {detail[:200]}")


def _fault(call: Call, response: httpx.Response) -> str | None:
    """Return what is wrong with an answer, None if it is what the call calls for."""
    status = response.status_code
    media_type = response.headers.get("content-type", "").partition(";")[0]
    match call.called_for:
        case Expectation.REFUSAL:
            if not 400 <= status < 500:
                return f"{status} where 4xx is called for"
            return None if media_type == PROBLEM else f"{status} as {media_type or 'nothing'}, not {PROBLEM}"
        case Expectation.UNKNOWN_ID:
            if status != httpx.codes.OK:
                return f"{status} where 200 is called for"
            answer = response.json()
            return None if answer["accepted"] == 0 and answer["unknown"] else "200 without the id in its list"
        case Expectation.SUCCESS:
            return None if status == httpx.codes.OK else f"{status} where 200 is called for"


def _labelled(call: Call, answer: dict[str, Any]) -> Iterable[tuple[str, LabelValue]]:
    predictions = answer["predictions"] if call.path == PREDICT_BATCH else [answer]
    for prediction, label in zip(predictions, call.labels, strict=True):
        if label is not None:
            yield prediction["prediction_id"], label
