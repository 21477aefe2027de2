"""Which model's window is next, and that a model which fails keeps no other waiting."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from api.prediction_log.database import Database
from api.prediction_log.models import register
from api.prediction_log.records import PredictionRecord, prediction_key
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from api.snapshots.retention import Retention, RetentionOfModels
from api.snapshots.retention_tiers import Removals
from api.snapshots.window_job import DueWindows, WindowProcessor
from model.errors import ArtifactError
from tests.logging_rows import as_they_are

DAY = timedelta(days=1)


class Processing:
    """Takes the due windows of one model, and ends each in the same way."""

    def __init__(self, store: WindowStore, outcome: str, order: list[int]) -> None:
        self._store, self._outcome, self._order = store, outcome, order

    def process_due(self, _most: int) -> list[str]:
        window = self._store.claim()
        if window is None:
            return []
        self._order.append(self._store.model_id)
        if self._outcome == "failed":
            self._store.defer(window, "no", cast("Any", "window"))
        else:
            self._store.finish(window, [], {"status": self._outcome})
        return [self._outcome]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Database, list[WindowStore]]]:
    """Three models with a due window each, closed in the order of their ids."""
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    ids = register(database, ["a", "b", "c"], "a").values()

    async def write() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(prediction_key(n, "x"), 0, "v", "{}", "a", "{}", n) for n in ids])
        await writer.close()

    asyncio.run(write())
    found = [WindowStore(database, model_id) for model_id in ids]
    for store in found:
        assert store.close_now(DAY) is not None
    yield database, found
    database.dispose()


def test_the_oldest_window_is_next_and_one_that_fails_keeps_no_other_waiting(
    stores: tuple[Database, list[WindowStore]],
) -> None:
    database, (first, second, third) = stores
    order: list[int] = []
    outcomes = {first: "failed", second: "posted", third: "posted"}
    build = {
        store.model_id: lambda store=store, outcome=outcome: cast("WindowProcessor", Processing(store, outcome, order))
        for store, outcome in outcomes.items()
    }
    due = DueWindows(database, build)
    assert due.process(2) == [(1, "failed"), (2, "posted")], "no more than may be taken at once"
    assert due.process(9) == [(3, "posted")]
    assert order == [1, 2, 3]


def test_a_model_that_cannot_be_read_waits_and_the_others_go_on(stores: tuple[Database, list[WindowStore]]) -> None:
    database, (first, *_) = stores
    order: list[int] = []
    broken = [True]

    def repaired() -> WindowProcessor:
        if broken:
            raise ArtifactError("damaged")
        return cast("WindowProcessor", Processing(first, "posted", order))

    build: dict[int, Any] = {
        store.model_id: lambda store=store: Processing(store, "posted", order) for store in stores[1]
    }
    due = DueWindows(database, build | {1: repaired})
    assert due.process(9) == [(2, "posted"), (3, "posted")]
    broken.clear()
    assert due.process(9) == [(1, "posted")]
    assert due.process(9) == []


class Removing:
    """Removes something, or is not done, or is not allowed to."""

    def __init__(self, name: str, log: list[str], *, unfinished: bool = False) -> None:
        self._name, self._log, self._unfinished = name, log, unfinished

    def run(self, _seconds: float) -> Removals:
        self._log.append(self._name)
        done = Removals(unfinished=self._unfinished)
        done.removed["snapshots"] = 1
        return done


def test_retention_goes_on_with_the_model_at_which_it_stopped_and_leaves_out_one_that_cannot_be_read() -> None:
    log: list[str] = []
    unfinished = [True]

    def unreadable() -> Retention:
        raise ArtifactError("damaged")

    models = RetentionOfModels(
        [
            lambda: cast("Retention", Removing("a", log)),
            unreadable,
            lambda: cast("Retention", Removing("c", log, unfinished=bool(unfinished))),
        ]
    )
    done = models.run(60)
    assert done is not None
    assert (done.removed["snapshots"], done.unfinished, log) == (2, True, ["a", "c"])
    unfinished.clear()
    log.clear()
    done = models.run(60)
    assert done is not None
    assert (done.removed["snapshots"], done.unfinished, log) == (2, False, ["c", "a"])
