"""Owns group commit: everything that arrived while the last commit ran goes into the next one."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, insert, select, update

from api.errors import LogOverloaded, LogUnavailable, VigieError
from api.prediction_log.database import Database
from api.prediction_log.label_store import store_labels
from api.prediction_log.records import LabelReceipt, LabelRecord, PredictionRecord
from api.prediction_log.tables import horizon, predictions

logger = logging.getLogger(__name__)

Waiter = asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one request wants in the log, and who waits for it."""

    waiter: Waiter
    loop: asyncio.AbstractEventLoop
    predictions: Sequence[PredictionRecord] = ()
    labels: Sequence[LabelRecord] = ()

    @property
    def rows(self) -> int:
        return len(self.predictions) + len(self.labels)


class LogWriter:
    """Writes to the log on a thread of its own; an awaited call returns once its rows are committed.

    ``max_waiting_rows`` bounds the rows that wait; past it a call raises LogOverloaded at once. ``observe_commit`` is
    told the rows and seconds of each commit.
    """

    def __init__(
        self,
        database: Database,
        max_waiting_rows: int,
        observe_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        self._database = database
        self._max_waiting_rows = max_waiting_rows
        self._observe_commit = observe_commit or (lambda _rows, _seconds: None)
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._waiting_rows = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a commit to begin."""
        return self._waiting_rows

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def close(self) -> None:
        """Commit what was accepted, then stop the thread; later calls raise LogUnavailable."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    async def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
        """Return once all of the records are committed; either all are or none is.

        Raises LogOverloaded or LogUnavailable.
        """
        await self._submit(predictions=records)

    async def log_labels(self, records: Sequence[LabelRecord]) -> LabelReceipt:
        """Return once the labels of known predictions are committed. Raises as `log_predictions` does."""
        receipt: LabelReceipt = await self._submit(labels=records)
        return receipt

    async def check(self) -> None:
        """Return once a commit went through. Raises as `log_predictions` does."""
        await self._submit()

    async def _submit(self, predictions: Sequence[PredictionRecord] = (), labels: Sequence[LabelRecord] = ()) -> Any:
        loop = asyncio.get_running_loop()
        entry = _Entry(loop.create_future(), loop, predictions, labels)
        with self._changed:
            if self._closed:
                raise LogUnavailable("the prediction log is closing")
            if entry.rows and self._waiting_rows + entry.rows > self._max_waiting_rows and self._waiting:
                raise LogOverloaded(f"{self._waiting_rows} rows wait for the prediction log; try again shortly")
            self._waiting.append(entry)
            self._waiting_rows += entry.rows
            self._changed.notify()
        return await entry.waiter

    def _run(self) -> None:
        while entries := self._take():
            began = perf_counter()
            outcomes = self._commit(entries)
            rows = sum(entry.rows for entry in entries)
            if rows:
                self._observe_commit(rows, perf_counter() - began)
            _tell(entries, outcomes)

    def _take(self) -> list[_Entry]:
        """Wait for entries; empty when closed and all is written."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            entries, self._waiting = self._waiting, []
            self._waiting_rows = 0
            return entries

    def _commit(self, entries: list[_Entry]) -> list[Any]:
        """Write all entries in one transaction; each outcome is what the entry's waiter gets, or an error to raise."""
        try:
            with self._database.writing() as connection:
                stamp = self._database.stamp(connection)
                _insert_predictions(connection, stamp, entries)
                outcomes: list[Any] = [
                    store_labels(connection, stamp, entry.labels) if entry.labels else None for entry in entries
                ]
                if not any(entry.rows for entry in entries):
                    connection.execute(
                        update(horizon).values(closed_until=select(horizon.c.closed_until).scalar_subquery())
                    )
        except VigieError as error:
            logger.warning("%d requests could not be logged: %s", len(entries), error)
            return [error] * len(entries)
        except Exception as error:  # the thread must outlive any fault, or every later request would wait for ever
            logger.exception("%d requests could not be logged", len(entries))
            return [LogUnavailable(f"the prediction log failed: {error!r}")] * len(entries)
        return outcomes


def _insert_predictions(connection: Connection, stamp: int, entries: list[_Entry]) -> None:
    rows = [
        {
            "id": record.prediction_id,
            "logged_at": stamp,
            "sample_key": record.sample_key,
            "model_version": record.model_version,
            "features": record.features,
            "prediction": record.prediction,
            "probabilities": record.probabilities,
        }
        for entry in entries
        for record in entry.predictions
    ]
    if rows:
        connection.execute(insert(predictions), rows)


def _tell(entries: list[_Entry], outcomes: list[Any]) -> None:
    """Wake the waiters, once for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Any]]] = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        by_loop.setdefault(entry.loop, []).append((entry.waiter, outcome))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: list[tuple[Waiter, Any]]) -> None:
    for waiter, outcome in pairs:
        if waiter.done():
            continue  # its client went away; the rows are logged all the same
        if isinstance(outcome, Exception):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)
