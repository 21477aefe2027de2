"""Sends predictions to the API, batch by batch: waits where it is asked to, and finds the rows that are refused."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx
import orjson
from pydantic import ValidationError

from scripts.ingest.rows import Card
from scripts.load.connection import key_header

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 600.0
"""How long an API that does not answer, or cannot log, is asked again."""
_AGAIN = frozenset({408, 425, 502, 503, 504})
_TOO_MANY = 429
_IN_USE, _TOO_LARGE, _INVALID = 409, 413, 422
_PLACE = re.compile(r"predictions\[(\d+)\]\.?(.*)")


class IngestError(Exception):
    """Nothing more can be sent; the message says why."""


class Item(NamedTuple):
    """One prediction to send, and where in the file it stands."""

    number: int
    line: int
    content: dict[str, Any]


class Refused(NamedTuple):
    """A row that is not logged, and why."""

    number: int
    line: int
    prediction_id: str
    reason: str


@dataclass
class Outcome:
    """What became of some rows."""

    logged: int = 0
    repeated: int = 0
    labels: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Count what became of others too."""
        self.logged += other.logged
        self.repeated += other.repeated
        self.labels += other.labels
        self.refused += other.refused


class Sender:
    """The call that logs the predictions of one model; `waiting` is called with what is waited for."""

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        waiting: Callable[[str], object] = lambda _what: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._path = f"{self.url}/models/{quote(model)}"
        self._patience, self._waiting = patience_seconds, waiting
        headers = {"Content-Type": "application/json", **key_header(key)}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        """Return the sender."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connection."""
        self._client.close()

    def card(self) -> Card:
        """Return the model's card; raises IngestError where the API does not have this model."""
        answer = self._asked("GET", self._path)
        if not answer.is_success:
            raise IngestError(f"{self.url} answered {answer.status_code} for the model's card: {_detail(answer)}")
        try:
            return Card.model_validate_json(answer.content)
        except ValidationError as error:
            raise IngestError(
                f"{self.url} did not answer with a model's card; is this the address of the API?"
            ) from error

    def send(self, items: Sequence[Item]) -> Outcome:
        """Log the predictions in their order, and return what became of each; raises IngestError."""
        if not items:
            return Outcome()
        body = orjson.dumps({"predictions": [item.content for item in items]})
        answer = self._asked("POST", f"{self._path}/log", body)
        if answer.is_success:
            found = answer.json()
            return Outcome(found["accepted"] - found["repeated"], found["repeated"], found["labels"])
        if answer.status_code == _INVALID and (wrong := _wrong_places(answer, len(items))):
            return self._without(items, wrong)
        if answer.status_code in {_IN_USE, _TOO_LARGE, _INVALID}:
            return self._apart(items, _detail(answer))
        raise IngestError(f"{self.url} answered {answer.status_code}: {_detail(answer)}")

    def _without(self, items: Sequence[Item], wrong: dict[int, str]) -> Outcome:
        """Send the items that nothing was wrong with; those that were not looked at yet show what is wrong then."""
        outcome = self.send([item for place, item in enumerate(items) if place not in wrong])
        outcome.refused += [_refused(items[place], reason) for place, reason in wrong.items()]
        outcome.refused.sort()
        return outcome

    def _apart(self, items: Sequence[Item], reason: str) -> Outcome:
        """Send halves, until the item that is refused is alone."""
        if len(items) == 1:
            return Outcome(refused=[_refused(items[0], reason)])
        middle = len(items) // 2
        outcome = self.send(items[:middle])
        outcome.add(self.send(items[middle:]))
        return outcome

    def _asked(self, method: str, url: str, body: bytes | None = None) -> httpx.Response:
        """Return the answer, once there is one that does not ask to wait; raises IngestError."""
        until = time.monotonic() + self._patience
        pause = 0.5
        while True:
            try:
                answer = self._client.request(method, url, content=body)
            except httpx.InvalidURL as error:
                raise IngestError(f"{url!r} is not an address: {error}") from error
            except httpx.TransportError as error:
                said, seconds = f"no answer from {self.url} ({error or type(error).__name__})", pause
            else:
                if answer.status_code not in {*_AGAIN, _TOO_MANY}:
                    return answer
                said, seconds = _detail(answer), _retry_after(answer, pause)
                if answer.status_code == _TOO_MANY:  # a limit is no fault: it passes
                    until = max(until, time.monotonic() + self._patience)
            if time.monotonic() + seconds > until:
                raise IngestError(f"{said}; gave up after {self._patience:g} s. Run the command again to go on")
            self._waiting(said)
            time.sleep(seconds)
            pause = min(pause * 2, 10.0)


def _refused(item: Item, reason: str) -> Refused:
    return Refused(item.number, item.line, str(item.content["prediction_id"]), reason)


def _wrong_places(answer: httpx.Response, items: int) -> dict[int, str]:
    """Return what is wrong with which of the items, as far as the answer says."""
    found: dict[int, list[str]] = {}
    try:
        errors = answer.json()["errors"]
    except (ValueError, LookupError, TypeError):
        return {}
    for error in errors:
        match = _PLACE.fullmatch(str(error["field"]))
        if match and int(match[1]) < items:
            found.setdefault(int(match[1]), []).append(f"{match[2] or 'the row'}: {error['message']}")
    return {place: "; ".join(said) for place, said in found.items()}


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return answer.reason_phrase


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else otherwise
