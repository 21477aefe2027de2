"""A client of the API, for programs with and without asyncio.

Every call may be repeated without harm, as each prediction has an id: the client makes one where its caller has none.
So the client itself repeats what had no answer, and waits as long as the API asks for.

ClientError
├── Unreachable     nothing answered
├── Unavailable     the API is busy, or something that it needs does not answer
├── InvalidRequest  the API refuses the content; `errors` names its fields
├── Conflict        an id belongs to another row, or the model does not take such calls
├── KeyRefused      the API needs an API key, or another one
├── NotFound        there is no such model or call
└── UnexpectedAnswer  what answered is not this API, or it has failed
"""

import asyncio
import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import uniform
from secrets import randbits
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import httpx

Row = Mapping[str, Any]
"""The values of one row, by the names of the model's schema."""
Json = dict[str, Any]
T = TypeVar("T")

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.1, 10.0
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""


class ClientError(Exception):
    """Base of what a call raises."""


class Unreachable(ClientError):
    """Nothing answered; a request may have been carried out, and repeating it does no harm."""


class Answered(ClientError):
    """The API refused a request; ``errors`` has the ``field``, ``message`` and ``type`` of each error in it."""

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.errors = status, detail, tuple(errors)


class Unavailable(Answered):
    """The API is busy, or something that it needs does not answer, for longer than the client waits."""


class InvalidRequest(Answered):
    """The API refuses the content of a request."""


class Conflict(Answered):
    """An id belongs to another row that was sent before, or the model does not take such calls."""


class KeyRefused(Answered):
    """The API needs an API key, or another one."""


class NotFound(Answered):
    """There is no such model or call."""


class UnexpectedAnswer(Answered):
    """What answered is not this API, or it has failed."""


_ERRORS: dict[int, type[Answered]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    **dict.fromkeys((401, 403), KeyRefused),
    **dict.fromkeys(BUSY, Unavailable),
    404: NotFound,
    409: Conflict,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one row; ``probabilities`` is empty where the model predicts a number."""

    prediction_id: str
    prediction: str | int | float | bool
    model_version: str
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """How many labels are stored, and the ids that no logged prediction has."""

    accepted: int
    unknown: tuple[str, ...]


def new_id() -> str:
    """Return an id for a prediction: a UUID of version 7, so that the log adds rows at the end of its index."""
    stamp = time.time_ns() // 1_000_000
    return str(UUID(int=stamp << 80 | 0x7 << 76 | randbits(12) << 64 | 0b10 << 62 | randbits(62)))


def key_header(key: str | None) -> dict[str, str]:
    """Return the header that presents an API key; none without a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def error_of(response: httpx.Response) -> Answered:
    """Return the error that a response tells of, from its problem document or else from its status."""
    try:
        problem = response.json()
        detail, errors = str(problem["detail"]), tuple(problem.get("errors", ()))
    except (ValueError, LookupError, TypeError, AttributeError):
        detail, errors = response.reason_phrase, ()
    return _ERRORS.get(response.status_code, UnexpectedAnswer)(response.status_code, detail, errors)


Exchange = Generator[httpx.Request | float, httpx.Response | httpx.TransportError | None, T]
"""A call as a generator: yields requests to send and seconds to wait, gets what came of each, returns the result."""


class _Calls:
    """What both clients send, and what they make of the answers.

    ``model`` is the name of the model where the API has several, ``key`` an API key. An answer may take
    ``timeout_seconds``. A request that had no answer, or a busy one, is repeated for up to ``patience_seconds``.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
    ) -> None:
        if not _is_address(url):
            raise ValueError(f"{url!r} is not the address of an API; it begins with http:// or https://")
        self._url = url.rstrip("/")
        self._model = model
        self._headers = {"Content-Type": "application/json", **key_header(key)}
        self._timeout = {"timeout": httpx.Timeout(timeout_seconds).as_dict()}
        self._patience_seconds = patience_seconds
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def path(self, call: str) -> str:
        """Return the path of one of the model's calls. Raises ValueError."""
        if self._model is None and call == "log":
            raise ValueError("name the model whose predictions are logged: Client(url, model=NAME)")
        return f"/{call}" if self._model is None else f"/models/{quote(self._model, safe='')}/{call}"

    def post(self, path: str, body: Any) -> Exchange[Any]:
        """Send a body, as JSON or values, until it is answered; return the JSON of the answer. Raises ClientError."""
        content = body if isinstance(body, bytes) else encoded(body)
        give_up, wait = time.monotonic() + self._patience_seconds, FIRST_WAIT_SECONDS
        while True:
            request = httpx.Request(
                "POST", self._url + path, headers=self._headers, content=content, extensions=self._timeout
            )
            answer = yield request
            if isinstance(answer, httpx.Response) and answer.status_code not in BUSY:
                return _content(answer)
            pause = max(uniform(wait / 2, wait), _asked_wait(answer))  # noqa: S311 - it only spreads callers
            if time.monotonic() + pause > give_up:
                raise (
                    error_of(answer)
                    if isinstance(answer, httpx.Response)
                    else Unreachable(f"nothing answered at {self._url}: {answer}")
                )
            yield pause
            wait = min(2 * wait, MAX_WAIT_SECONDS)

    def _predict(self, row: Row, prediction_id: str | None) -> Exchange[Prediction]:
        query = urlencode({"prediction_id": prediction_id or new_id()})
        found = yield from self.post(f"{self.path('predict')}?{query}", row)
        return _prediction(found)

    def _batch(self, rows: Sequence[Row], prediction_ids: Sequence[str] | None) -> Exchange[list[Prediction]]:
        ids = [new_id() for _ in rows] if prediction_ids is None else list(prediction_ids)
        found = yield from self.post(self.path("predict/batch"), {"rows": list(rows), "prediction_ids": ids})
        return [_prediction(one) for one in found["predictions"]]

    def _log(self, predictions: Iterable[Row]) -> Exchange[Json]:
        found: Json = yield from self.post(self.path("log"), {"predictions": identified(predictions)})
        return found

    def _feedback(self, labels: Mapping[str, Any]) -> Exchange[LabelReceipt]:
        sent = [{"prediction_id": key, "label": label} for key, label in labels.items()]
        found = yield from self.post(self.path("feedback"), {"labels": sent})
        return LabelReceipt(found["accepted"], tuple(found["unknown"]))


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def identified(predictions: Iterable[Row]) -> list[Row]:
    """Return the predictions, each with an id; one that has none gets a new one."""
    return [one if one.get("prediction_id") else {**one, "prediction_id": new_id()} for one in predictions]


def _prediction(found: Json) -> Prediction:
    return Prediction(
        found["prediction_id"], found["prediction"], found["model_version"], found.get("probabilities", {})
    )


def encoded(body: Any) -> bytes:
    """Return the body as JSON. Raises ValueError for NaN and infinity, TypeError for what JSON has not."""
    try:
        return json.dumps(body, allow_nan=False, default=_plain, separators=(",", ":")).encode()
    except ValueError as error:
        raise ValueError(f"a value is NaN or infinite; send None where it is missing ({error})") from None


def _plain(value: Any) -> Any:
    """Return a number of NumPy or pandas as one of Python's."""
    if callable(getattr(value, "item", None)):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} is not JSON; send text, a number, true, false or None")


def _content(answer: httpx.Response) -> Any:
    if answer.status_code != httpx.codes.OK:
        raise error_of(answer)
    try:
        return answer.json()
    except ValueError:
        raise UnexpectedAnswer(answer.status_code, "the answer is not JSON; is this the API's address?") from None


def _asked_wait(answer: httpx.Response | httpx.TransportError | None) -> float:
    """Return the seconds that an answer asks to wait, 0 if it asks for nothing."""
    said = answer.headers.get("Retry-After", "") if isinstance(answer, httpx.Response) else ""
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class Client(_Calls):
    """Calls the API; threads may share it."""

    def _open(self) -> None:
        self._http = httpx.Client()

    def predict(self, row: Row, prediction_id: str | None = None) -> Prediction:
        """Predict one row. Raises ClientError."""
        return self.run(self._predict(row, prediction_id))

    def batch(self, rows: Sequence[Row], prediction_ids: Sequence[str] | None = None) -> list[Prediction]:
        """Predict several rows; all of them are logged, or none. Raises ClientError."""
        return self.run(self._batch(rows, prediction_ids))

    def log(self, predictions: Iterable[Row]) -> Json:
        """Log predictions that were made elsewhere, each with `features` and `prediction`. Raises ClientError."""
        return self.run(self._log(predictions))

    def feedback(self, labels: Mapping[str, Any]) -> LabelReceipt:
        """Send labels, by the id of their prediction. Raises ClientError."""
        return self.run(self._feedback(labels))

    def run(self, exchange: Exchange[T]) -> T:
        """Carry out a call."""
        came: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = exchange.send(came)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, float):
                time.sleep(step)
                came = None
                continue
            try:
                came = self._http.send(step)
            except httpx.TransportError as error:
                came = error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()


class AsyncClient(_Calls):
    """Calls the API from asyncio, as `Client` does without it."""

    def _open(self) -> None:
        self._http = httpx.AsyncClient()

    async def predict(self, row: Row, prediction_id: str | None = None) -> Prediction:
        """Predict one row. Raises ClientError."""
        return await self.run(self._predict(row, prediction_id))

    async def batch(self, rows: Sequence[Row], prediction_ids: Sequence[str] | None = None) -> list[Prediction]:
        """Predict several rows; all of them are logged, or none. Raises ClientError."""
        return await self.run(self._batch(rows, prediction_ids))

    async def log(self, predictions: Iterable[Row]) -> Json:
        """Log predictions that were made elsewhere, each with `features` and `prediction`. Raises ClientError."""
        return await self.run(self._log(predictions))

    async def feedback(self, labels: Mapping[str, Any]) -> LabelReceipt:
        """Send labels, by the id of their prediction. Raises ClientError."""
        return await self.run(self._feedback(labels))

    async def run(self, exchange: Exchange[T]) -> T:
        """Carry out a call."""
        came: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = exchange.send(came)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, float):
                await asyncio.sleep(step)
                came = None
                continue
            try:
                came = await self._http.send(step)
            except httpx.TransportError as error:
                came = error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client; it is closed at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.aclose()
