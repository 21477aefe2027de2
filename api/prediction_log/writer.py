"""The thread that writes the log in groups: what arrives during one commit goes into the next one."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, insert, update

from api.errors import IdInUse, LogOverloaded, LogUnavailable, PayloadError, VigieError
from api.prediction_log.database import Database
from api.prediction_log.inserts import Same, find_predictions, insert_own, insert_predictions, store_labels
from api.prediction_log.records import SOLE_MODEL, LabelReceipt, LabelRecord, PredictionRecord
from api.prediction_log.tables import horizon, rejections

logger = logging.getLogger(__name__)

Waiter = asyncio.Future[Any]
REJECTIONS_WAIT_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
GATHERING_SHARE = 0.5
"""How long PostgreSQL's next commit waits for callers to come back, as a share of what the last commit took."""
MAX_GATHERING_SECONDS = 0.02
GATHERED_ROWS = 1000
"""With so many rows waiting a commit begins: to write them takes longer than the disk's answer, which all share."""

Row = Sequence[Any]
Respond = Callable[[Sequence[Row]], tuple[Sequence[PredictionRecord], Sequence[bytes]]]
Rejections = Counter[tuple[int, str]]
"""Refused requests by model and reason."""


@dataclass(slots=True, eq=False)
class _Entry:
    """What one request wants in the log, who waits for it, and until when on its loop's clock.

    ``features`` are the rows to predict, ``respond`` does that, and ``predictions`` are what is then logged of them.
    ``same`` is given where their ids are the caller's own.
    """

    waiter: Waiter
    loop: asyncio.AbstractEventLoop
    due: float
    rows: int
    features: Sequence[Row] = ()
    respond: Respond | None = None
    predictions: Sequence[PredictionRecord] = ()
    labels: Sequence[LabelRecord] = ()
    responses: Sequence[bytes] | None = None
    same: Same | None = None


class Gathering:
    """Says how many calls the next commit waits for, and until when: those of the last commit often come back at once.

    The first of them would otherwise start a commit alone, and the others would wait for the disk twice.
    """

    def __init__(self) -> None:
        self._calls, self._until = 1, 0.0

    def answer(self, calls: int, waiting: int, seconds: float, now: float) -> None:
        """Note a commit that took ``seconds``: how many calls it answers, and how many wait already."""
        self._calls = calls + waiting
        self._until = now + min(MAX_GATHERING_SECONDS, GATHERING_SHARE * seconds)

    def wanted(self, now: float) -> tuple[int, float]:
        """Return how many calls to wait for, and for how many seconds more; one call is waited for without an end."""
        left = self._until - now
        return (max(1, self._calls), left) if left > 0 else (1, 0.0)


class LogWriter:
    """Writes to the log on a thread of its own; an awaited call returns once its rows are committed.

    One writer serves all models: rows of several share a commit. ``respond`` predicts rows of the model of calls that
    name no other one, and returns for each what to log and the response. It is called on that thread, once for all of
    the model's rows that wait, so that a model whose calls are slow is called once for many requests.
    ``max_waiting_rows`` bounds the rows that wait; past it a call raises LogOverloaded at once. ``observe_commit`` gets
    the rows and seconds of each commit, ``observe_queue`` the number of rows that wait, whenever it changes. A call
    whose rows are not committed within ``timeout_seconds`` raises LogUnavailable; rows whose commit had begun may still
    be logged.
    """

    def __init__(
        self,
        database: Database,
        max_waiting_rows: int,
        observe_commit: Callable[[int, float], None] | None = None,
        observe_queue: Callable[[int], None] | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        respond: Respond | None = None,
    ) -> None:
        self._respond = respond
        self._database = database
        self._max_waiting_rows = max_waiting_rows
        self._observe_commit = observe_commit or (lambda _rows, _seconds: None)
        self._observe_queue = observe_queue or (lambda _rows: None)
        self._timeout_seconds = timeout_seconds
        self._alarm: asyncio.TimerHandle | None = None
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._committing: list[_Entry] = []
        self._waiting_rows = 0
        self._rejections: Rejections = Counter()
        self._gathering = Gathering()
        self._wanted = 1
        self._closed = False
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._refusal = None
        self._thread.start()

    @property
    def refusal(self) -> str | None:
        """Why every call raises LogUnavailable; None once the thread is started."""
        return self._refusal

    def refuse(self, reason: str) -> None:
        """Let every call raise LogUnavailable at once, with that reason, until the thread is started."""
        self._refusal = reason

    async def close(self) -> None:
        """Commit what was accepted, then stop the thread; later calls raise LogUnavailable.

        It waits for a database that does not answer no longer than any call does.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:  # it was started
            await asyncio.to_thread(self._thread.join, self._timeout_seconds)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._thread.is_alive():
            logger.error("the prediction log did not answer during the stop; rows without a response may be lost")

    async def log_responses(self, rows: Sequence[Row], respond: Respond | None = None) -> Sequence[bytes]:
        """Predict the rows and return the responses once all are committed; either all are or none is.

        ``respond`` is that of the rows' model, without one that of the writer. Raises LogOverloaded, LogUnavailable,
        and what the model raises.
        """
        responses: Sequence[bytes] = await self._submit(len(rows), features=rows, respond=respond or self._respond)
        return responses

    async def log_own(
        self,
        rows: Sequence[Row],
        same: Same,
        respond: Respond | None = None,
        labels: Sequence[LabelRecord] = (),
    ) -> Sequence[bytes | PredictionRecord]:
        """Do as `log_responses` does with rows whose ids are the caller's own, and store labels of these in one commit.

        For a row that was logged before, return what was logged of it then; it is not logged again. Raises IdInUse too,
        where ``same`` says that an id belongs to another row.
        """
        content: dict[str, Any] = {"features": rows, "respond": respond or self._respond, "same": same}
        responses: Sequence[bytes | PredictionRecord] = await self._submit(len(rows), **content, labels=labels)
        return responses

    async def find(self, records: Sequence[PredictionRecord]) -> Mapping[str, PredictionRecord]:
        """Return the logged predictions with the keys of these records, by key. Raises LogUnavailable."""

        def read() -> Mapping[str, PredictionRecord]:
            with self._database.reading() as connection:
                return find_predictions(connection, [record.prediction_id for record in records])

        return await asyncio.to_thread(read)

    async def log_labels(self, records: Sequence[LabelRecord]) -> LabelReceipt:
        """Return once the labels of known predictions are committed. Raises as `log_responses` does."""
        receipt: LabelReceipt = await self._submit(len(records), labels=records)
        return receipt

    def count_rejection(self, reason: str, model_id: int = SOLE_MODEL) -> None:
        """Count a refused request; the counts are committed within about a second, and no caller waits for that."""
        with self._changed:
            if not self._rejections:
                self._changed.notify()  # once: each call begins the wait anew
            self._rejections[model_id, reason] += 1

    async def check(self) -> None:
        """Return once a commit went through and there is room for more. Raises LogUnavailable."""
        await self._submit(0)
        self._database.check_room()

    async def _submit(self, rows: int, **content: Any) -> Any:
        loop = asyncio.get_running_loop()
        entry = _Entry(loop.create_future(), loop, loop.time() + self._timeout_seconds, rows, **content)
        with self._changed:
            if self._closed:
                raise LogUnavailable("the prediction log is closing")
            if self._refusal is not None:
                raise LogUnavailable(self._refusal)
            if rows and self._waiting_rows + rows > self._max_waiting_rows and self._waiting:
                raise LogOverloaded(f"{self._waiting_rows} rows wait for the prediction log; try again shortly")
            self._waiting.append(entry)
            self._waiting_rows += rows
            self._observe_queue(self._waiting_rows)
            if len(self._waiting) == self._wanted or self._waiting_rows >= GATHERED_ROWS:
                self._changed.notify()
        if self._alarm is None:  # one timer for all calls, not one for each
            self._alarm = loop.call_at(entry.due, self._expire, loop)
        return await entry.waiter

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail the calls that have waited too long, and look again when the next one will have."""
        now = loop.time()
        with self._changed:
            late = [entry for entry in self._waiting if entry.due <= now]
            self._waiting = [entry for entry in self._waiting if entry.due > now]
            self._waiting_rows -= sum(entry.rows for entry in late)
            self._observe_queue(self._waiting_rows)
            late += [entry for entry in self._committing if entry.due <= now]
            left = [entry.due for entry in (*self._committing, *self._waiting) if entry.due > now]
        error = LogUnavailable(f"the prediction log took longer than {self._timeout_seconds:g} s to commit")
        _settle([(entry.waiter, error) for entry in late])
        self._alarm = loop.call_at(min(left), self._expire, loop) if left else None

    def _run(self) -> None:
        while (work := self._take()) is not None:
            entries, refused = work
            entries = self._predicted(entries)
            began = perf_counter()
            outcomes = self._commit(entries, refused)
            ended = perf_counter()
            rows = sum(entry.rows for entry in entries)
            if rows:
                self._observe_commit(rows, ended - began)
            if not self._database.is_sqlite:  # its commits are over before a caller is back
                self._gathering.answer(len(entries), len(self._waiting), ended - began, ended)
            _resolve(entries, outcomes)

    def _take(self) -> tuple[list[_Entry], Rejections] | None:
        """Wait for something to write; None when closed and all is written."""
        with self._changed:
            self._gather()
            if self._closed and not self._waiting and not self._rejections:
                return None
            entries, self._waiting = self._waiting, []
            self._committing = entries
            refused, self._rejections = self._rejections, Counter()
            self._waiting_rows = 0
            self._observe_queue(0)
            return entries, refused

    def _gather(self) -> None:
        """Wait until the next commit has what it waits for; to be called under the lock."""
        while not self._closed and self._waiting_rows < GATHERED_ROWS:
            self._wanted, left = self._gathering.wanted(perf_counter())
            if len(self._waiting) >= self._wanted:
                return
            limit = left or (REJECTIONS_WAIT_SECONDS if self._rejections else None)
            if not self._changed.wait(limit) and not left:
                return

    def _predicted(self, entries: list[_Entry]) -> list[_Entry]:
        """Predict all rows of each model in one call, and return the entries that can be committed.

        Where that fails, each request to the model is tried alone: a row that it cannot take fails no other request.
        """
        asking: dict[Respond | None, list[_Entry]] = {}
        for entry in entries:
            if entry.features:
                asking.setdefault(entry.respond, []).append(entry)
        failing = [ours for ours in asking.values() if self._fault(ours) is not None]
        if not failing:
            return entries
        faults = {id(entry): self._fault([entry]) for ours in failing for entry in ours}
        failed = [entry for entry in entries if faults.get(id(entry)) is not None]
        _resolve(failed, [faults[id(entry)] for entry in failed])
        return [entry for entry in entries if faults.get(id(entry)) is None]

    def _fault(self, entries: list[_Entry]) -> Exception | None:
        """Predict the rows of these entries, which are of one model; return what went wrong."""
        try:
            self._fill(entries)
        except PayloadError as error:  # the caller gets it
            return error
        except Exception as error:  # as in _commit
            logger.exception("the rows of %d requests could not be predicted", len(entries))
            return error
        return None

    def _fill(self, entries: list[_Entry]) -> None:
        respond = entries[0].respond
        if respond is None:
            raise LogUnavailable("no model answers these rows: neither the call nor the log's writer has one")
        records, responses = respond([row for entry in entries for row in entry.features])
        first = 0
        for entry in entries:
            last = first + entry.rows
            entry.predictions, entry.responses = records[first:last], responses[first:last]
            first = last

    def _commit(self, entries: list[_Entry], refused: Rejections) -> list[Any]:
        """Write all in one transaction; each outcome is what the entry's waiter gets, or an error to raise."""
        try:
            if not refused and all(one.predictions and not one.same for one in entries):
                return self._commit_predictions(entries)
            with self._database.writing() as connection:
                stamps = self._database.stamps(connection)
                generated = [one for entry in entries if not entry.same for one in entry.predictions]
                insert_predictions(connection, stamps, generated)
                own = _log_own(connection, stamps, entries)
                outcomes = [_outcome(connection, stamps, entry, own.get(id(entry))) for entry in entries]
                _insert_rejections(connection, stamps, refused)
                if not any(entry.rows for entry in entries):
                    unchanged = update(horizon).values(closed_until=horizon.c.closed_until)
                    connection.execute(unchanged.where(horizon.c.id == SOLE_MODEL))
        except VigieError as error:
            self._count_again(refused)
            logger.warning("%d requests could not be logged: %s", len(entries), error)
            return [error] * len(entries)
        except Exception as error:  # the thread must outlive any fault, or every later request would wait for ever
            logger.exception("%d requests could not be logged", len(entries))
            return [LogUnavailable(f"the prediction log failed: {error!r}")] * len(entries)
        return outcomes

    def _commit_predictions(self, entries: list[_Entry]) -> list[Any]:
        """Write predictions alone, as nearly every commit does, on the fast path."""
        with self._database.driving() as connection:
            records = [one for entry in entries for one in entry.predictions]
            insert_predictions(connection, self._database.stamps(connection), records)
        return [entry.responses for entry in entries]

    def _count_again(self, refused: Rejections) -> None:
        """Count again what could not be written, to write it later; not at the end, which must not wait for ever."""
        with self._changed:
            if not self._closed:
                self._rejections.update(refused)


def _log_own(connection: Connection, stamps: Mapping[int, int], entries: list[_Entry]) -> dict[int, Any]:
    """Log the predictions with ids of the callers' own, and return the outcome of each entry that has such."""
    groups = [(entry.predictions, entry.same, entry) for entry in entries if entry.same]
    found: dict[int, Any] = {}
    if not groups:
        return found
    outcomes = insert_own(connection, stamps, [(records, same) for records, same, _ in groups])
    for (records, _, entry), outcome in zip(groups, outcomes, strict=True):
        if isinstance(outcome, IdInUse):
            entry.rows, found[id(entry)] = 0, outcome
            continue
        entry.rows -= len(outcome)  # a repeat is not logged, so it does not count
        pairs = zip(records, entry.responses or (), strict=True)
        found[id(entry)] = [outcome.get(record.prediction_id, response) for record, response in pairs]
    return found


def _outcome(connection: Connection, stamps: Mapping[int, int], entry: _Entry, own: Any) -> Any:
    """Store the labels of an entry, unless its predictions were refused, and return what its waiter gets."""
    if entry.labels and not isinstance(own, IdInUse):
        receipt = store_labels(connection, stamps, entry.labels)
        return receipt if own is None else own
    return entry.responses if own is None else own


def _insert_rejections(connection: Connection, stamps: Mapping[int, int], counts: Rejections) -> None:
    if counts:
        rows = [
            {"logged_at": stamps[model_id], "reason": reason, "requests": count, "model_id": model_id}
            for (model_id, reason), count in counts.items()
        ]
        connection.execute(insert(rejections), rows)


def _resolve(entries: list[_Entry], outcomes: list[Any]) -> None:
    """Give each waiter its outcome, with one call for each event loop."""
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
