"""A queue on disk for what the API shall have later: predictions that were made elsewhere, and labels."""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from vigie.client import Client, ClientError, Conflict, InvalidRequest, Row, encoded, identified

logger = logging.getLogger(__name__)

FILE = "queue.db"
ITEMS_PER_CALL = 1000
LOG, FEEDBACK = "predictions", "labels"
NEXT = f"SELECT id, path, kind, content FROM waiting ORDER BY id LIMIT {ITEMS_PER_CALL}"  # noqa: S608 - our own number
AGAIN = "INSERT INTO waiting (path, kind, content) SELECT path, kind, content FROM refused ORDER BY id"
TABLES = """
CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT, kind TEXT, content TEXT);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT, kind TEXT, content TEXT, reason TEXT
);
"""


class QueueFailed(ClientError):
    """The queue's file cannot be read or written; what was to be added is not accepted."""


class _Item(NamedTuple):
    number: int
    path: str
    kind: str
    content: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What the API did not take: a prediction or a label, and why."""

    content: Mapping[str, Any]
    reason: str


class Queue:
    """Sends predictions and labels in the order in which they came, as soon as the API takes them.

    What a call of `log` or `feedback` has accepted, by returning, is in a file in ``folder``. It stays there until the
    API has it: through the end of this process, a kill and a power cut. Then the next queue on the same folder sends
    it. What was sent twice is logged once, as each prediction has an id. What the API refuses for its content is set
    aside, see `refused`; what is behind it is sent all the same.

    Used with ``with``, a thread sends what waits, and again after ``pause_seconds``; without it only `flush` sends.
    Threads and processes may share a folder; it must be on a local disk.
    """

    def __init__(self, client: Client, folder: str | Path, *, pause_seconds: float = 1.0) -> None:
        self._client = client
        self._pause_seconds = pause_seconds
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None
        with _translated():
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(Path(folder) / FILE, timeout=30, check_same_thread=False, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):  # FULL: what was accepted outlives a power cut
                self._file.execute(f"PRAGMA {pragma}")
            self._file.executescript(TABLES)

    def log(self, predictions: Iterable[Row]) -> list[str]:
        """Accept predictions, each with `features` and `prediction`; return their ids. Raises QueueFailed."""
        named = identified(predictions)
        self._add(self._client.path("log"), LOG, named)
        return [str(one["prediction_id"]) for one in named]

    def feedback(self, labels: Mapping[str, Any]) -> None:
        """Accept labels, by the id of their prediction. Raises QueueFailed."""
        sent = [{"prediction_id": key, "label": label} for key, label in labels.items()]
        self._add(self._client.path("feedback"), FEEDBACK, sent)

    def waiting(self) -> int:
        """Return how many predictions and labels the API does not have yet."""
        return int(self._all("SELECT count(*) FROM waiting")[0][0])

    def refused(self) -> list[Refused]:
        """Return what the API did not take."""
        found = self._all("SELECT content, reason FROM refused ORDER BY id")
        return [Refused(json.loads(content), reason) for content, reason in found]

    def retry_refused(self) -> None:
        """Put what was refused at the end of the queue: the model takes it now, or the prediction is there."""
        with self._writing() as file:
            file.execute(AGAIN)
            file.execute("DELETE FROM refused")
        self._wake.set()

    def flush(self) -> None:
        """Send all that waits. Raises ClientError where the API does not answer or the key is refused; all stays."""
        with self._sending:
            while found := self._all(NEXT):
                for (path, kind), items in groupby((_Item(*one) for one in found), lambda item: (item.path, item.kind)):
                    self._send(path, kind, list(items))

    def close(self) -> None:
        """Try once more to send what waits; what the API does not take stays in the file for the next queue."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if left := self.waiting():
            logger.warning("%d predictions and labels wait in the queue's file; the next queue on it sends them", left)
        self._file.close()

    def __enter__(self) -> Self:
        """Start the thread that sends."""
        self._thread = threading.Thread(target=self._run, name="vigie-queue", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the queue, whatever happened in the block."""
        self.close()

    def _run(self) -> None:
        while True:
            closing = self._closed
            self._wake.clear()
            try:
                self.flush()
            except ClientError as error:
                logger.warning("the queue is not sent yet: %s", error)
            if closing:
                return
            if not self._closed:
                self._wake.wait(self._pause_seconds)

    def _send(self, path: str, kind: str, items: Sequence[_Item]) -> None:
        """Send items; where one of several is refused, halves of them, so that the others get through."""
        body = f'{{"{kind}":[{",".join(item.content for item in items)}]}}'.encode()
        try:
            receipt = self._client.run(self._client.post(path, body))
        except (InvalidRequest, Conflict) as error:
            if len(items) == 1:
                self._done(items, {items[0].number: str(error)})
                return
            middle = len(items) // 2
            self._send(path, kind, items[:middle])
            self._send(path, kind, items[middle:])
            return
        unknown = set(receipt.get("unknown", ()))
        reason = "no prediction with this id is logged"
        lost = [item.number for item in items if unknown and json.loads(item.content)["prediction_id"] in unknown]
        self._done(items, dict.fromkeys(lost, reason))

    def _done(self, items: Sequence[_Item], refused: Mapping[int, str]) -> None:
        """Take items out of the queue; the refused ones are set aside, unless another process has done so."""
        with self._writing() as file:
            for item in items:
                gone = file.execute("DELETE FROM waiting WHERE id = ?", (item.number,)).rowcount == 0
                if item.number in refused and not gone:
                    file.execute(
                        "INSERT INTO refused (path, kind, content, reason) VALUES (?, ?, ?, ?)",
                        (*item[1:], refused[item.number]),
                    )

    def _add(self, path: str, kind: str, items: Sequence[Row]) -> None:
        rows = [(path, kind, encoded(item).decode()) for item in items]
        with self._writing() as file:
            file.executemany("INSERT INTO waiting (path, kind, content) VALUES (?, ?, ?)", rows)
        self._wake.set()

    def _all(self, query: str) -> list[Any]:
        with self._lock, _translated():
            return self._file.execute(query).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; it is on disk when the block has ended."""
        with self._lock, _translated():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise QueueFailed(f"the queue's file cannot be read or written: {error}") from error
