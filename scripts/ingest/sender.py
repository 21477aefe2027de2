"""Sends predictions to the API, batch by batch, and finds the rows that are refused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from scripts.ingest.rows import Card
from vigie.client import Answered, Client, ClientError, Conflict, InvalidRequest, error_of, key_header

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 600.0
"""How long an API that does not answer, cannot log, or asks to wait is asked again."""
_PLACE = re.compile(r"predictions\[(\d+)\]\.?(.*)")
_OTHER = re.compile(r"(?<=is the id of )predictions\[(\d+)\]")


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
    """The calls to one model of the API. Raises IngestError where the address is none."""

    def __init__(self, url: str, model: str, key: str | None, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.url, self.model, self._key = url.rstrip("/"), model, key
        try:
            self._client = Client(
                self.url, model=model, key=key, timeout_seconds=TIMEOUT_SECONDS, patience_seconds=patience_seconds
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise IngestError(str(error)) from error

    def __enter__(self) -> Self:
        """Return the sender."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connection."""
        self._client.close()

    def card(self) -> Card:
        """Return the model's card; raises IngestError where the API does not have this model."""
        url = f"{self.url}/models/{quote(self.model, safe='')}"
        try:
            answer = httpx.get(url, headers=key_header(self._key), timeout=TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            raise IngestError(f"cannot reach the API at {self.url}: {error}") from error
        if not answer.is_success:
            raise IngestError(f"{self.url} answered {error_of(answer)}")
        try:
            return Card.model_validate_json(answer.content)
        except ValidationError as error:
            raise IngestError(f"{url} did not answer with a model's card; is this the address of the API?") from error

    def send(self, items: Sequence[Item]) -> Outcome:
        """Log the predictions in their order, and return what became of each; raises IngestError.

        A row that stands there twice is sent once, and counts as logged before.
        """
        first: dict[str, dict[str, Any]] = {}
        once = [
            item
            for item in items
            if first.setdefault(item.content["prediction_id"], item.content) is item.content
            or first[item.content["prediction_id"]] != item.content
        ]
        outcome = self._send(once)
        outcome.repeated += len(items) - len(once)
        return outcome

    def _send(self, items: Sequence[Item]) -> Outcome:
        if not items:
            return Outcome()
        try:
            found = self._client.log([item.content for item in items])
        except (InvalidRequest, Conflict) as error:
            wrong = _wrong_places(error.errors, items)
            return self._without(items, wrong) if wrong else self._apart(items, error)
        except ClientError as error:
            raise IngestError(f"{error}. Run the command again to go on") from error
        return Outcome(found["accepted"] - found["repeated"], found["repeated"], found["labels"])

    def _without(self, items: Sequence[Item], wrong: dict[int, str]) -> Outcome:
        """Send the items that nothing was wrong with; those that were not looked at yet show what is wrong then."""
        outcome = self.send([item for place, item in enumerate(items) if place not in wrong])
        outcome.refused += [_refused(items[place], reason) for place, reason in wrong.items()]
        outcome.refused.sort()
        return outcome

    def _apart(self, items: Sequence[Item], error: Answered) -> Outcome:
        """Send halves, until the item that is refused is alone."""
        if len(items) == 1:
            return Outcome(refused=[_refused(items[0], error.detail)])
        middle = len(items) // 2
        outcome = self.send(items[:middle])
        outcome.add(self.send(items[middle:]))
        return outcome


def _refused(item: Item, reason: str) -> Refused:
    return Refused(item.number, item.line, str(item.content["prediction_id"]), reason)


def _wrong_places(errors: Sequence[Mapping[str, str]], items: Sequence[Item]) -> dict[int, str]:
    """Return what is wrong with which of the items, as far as the errors say; they name others by their lines."""
    found: dict[int, list[str]] = {}
    for error in errors:
        match = _PLACE.fullmatch(str(error["field"]))
        if match and int(match[1]) < len(items):
            message = _OTHER.sub(lambda other: f"line {items[int(other[1])].line}", error["message"])
            found.setdefault(int(match[1]), []).append(f"{match[2] or 'the row'}: {message}")
    return {place: "; ".join(said) for place, said in found.items()}
