"""How what was logged while a clock was ahead comes back, at times that the test sets."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select

from api.prediction_log.database import moment
from api.prediction_log.future_rows import FutureRows
from api.prediction_log.models import register
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.tables import labels, predictions
from api.prediction_log.windows import WindowStore
from tests.clocked import NOON, ClockedDatabase
from tests.logging_rows import log_row

FIVE_MINUTES, DAY = timedelta(minutes=5), timedelta(days=1)
Times = dict[str, datetime]


@pytest.fixture
def store(database: ClockedDatabase) -> WindowStore:
    return WindowStore(database)


@pytest.fixture
def future(database: ClockedDatabase) -> FutureRows:
    return FutureRows(database)


def times(database: ClockedDatabase) -> tuple[Times, Times]:
    """When each prediction and each label was logged."""
    with database.reading() as connection:
        rows = connection.execute(select(predictions.c.id, predictions.c.logged_at)).all()
        arrived = connection.execute(select(labels.c.prediction_id, labels.c.arrived_at)).all()
    return {row[0]: moment(row[1]) for row in rows}, {row[0]: moment(row[1]) for row in arrived}


def spans(store: WindowStore) -> list[tuple[datetime, datetime, str]]:
    return [(window.start, window.end, str(window.status)) for window in reversed(store.newest(1000))]


def test_rows_of_a_clock_that_was_ahead_come_back_as_far_apart_as_they_were(
    database: ClockedDatabase, store: WindowStore, future: FutureRows
) -> None:
    log_row(database, NOON, "before")
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    for number in range(3):  # for a quarter of an hour, the clock is a day ahead
        log_row(database, NOON + DAY + (number + 2) * FIVE_MINUTES, f"ahead {number}", label="a")
        store.close_elapsed(FIVE_MINUTES)
    now = NOON + 5 * FIVE_MINUTES
    database.time = now
    found = future.find()
    assert (found.ahead, found.rows["predictions"], found.rows["labels"]) == (DAY - FIVE_MINUTES, 3, 3)
    assert [window.end > now for window in found.windows] == [True] * len(found.windows)
    future.bring_back(found)
    logged, arrived = times(database)
    assert logged == {"before": NOON} | {f"ahead {number}": now - (2 - number) * FIVE_MINUTES for number in range(3)}
    assert arrived == {name: time for name, time in logged.items() if name != "before"}
    assert not future.find().is_wrong
    log_row(database, now + timedelta(minutes=1), "after")
    assert times(database)[0]["after"] == now + timedelta(minutes=1)
    database.time = NOON + 6 * FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    ends = [NOON + number * FIVE_MINUTES for number in range(7)]
    assert [span[:2] for span in spans(store)] == list(pairwise(ends))
    assert [span[2] for span in spans(store)] == ["due", "skipped", "skipped", "due", "due", "due"]


def test_no_row_comes_into_a_window_that_is_closed(
    database: ClockedDatabase, store: WindowStore, future: FutureRows
) -> None:
    hour = timedelta(hours=1)
    for number in range(48):  # for longer than it is ahead, so that windows reach up to now and beyond
        log_row(database, NOON + number * hour, f"row {number}")
        store.close_elapsed(FIVE_MINUTES)
    now = NOON + 23 * hour + timedelta(minutes=7)
    database.time = now
    future.bring_back(future.find())
    logged, _ = times(database)
    closed = max(window.end for window in store.newest(1000))
    assert closed == NOON + 23 * hour + FIVE_MINUTES
    assert [logged[f"row {number}"] for number in range(24)] == [NOON + number * hour for number in range(24)]
    assert {closed, now} <= {logged[f"row {number}"] for number in range(24, 48)}
    assert all(closed <= logged[f"row {number}"] <= now for number in range(24, 48))


def test_more_rows_than_one_transaction_takes_come_back_while_others_arrive(
    database: ClockedDatabase, store: WindowStore, future: FutureRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.prediction_log.future_rows.ROWS_AT_ONCE", 3)
    for number in range(10):
        log_row(database, NOON + DAY + number * timedelta(minutes=1), f"row {number}")
    database.time = NOON + DAY + timedelta(minutes=10)
    store.close_elapsed(FIVE_MINUTES)
    found = future.find()
    database.time = NOON
    found = future.find()
    log_row(database, NOON, "meanwhile")  # it gets the end of the newest window
    assert times(database)[0]["meanwhile"] == NOON + DAY + timedelta(minutes=10)
    future.bring_back(found)
    logged, _ = times(database)
    assert [logged[f"row {number}"] for number in range(10)] == [
        NOON - (9 - number) * timedelta(minutes=1) for number in range(10)
    ]
    assert logged["meanwhile"] == NOON
    assert spans(store) == []


def test_an_interrupted_return_goes_on(database: ClockedDatabase, store: WindowStore, future: FutureRows) -> None:
    log_row(database, NOON + DAY, "first")
    log_row(database, NOON + DAY + FIVE_MINUTES, "second")
    store.close_elapsed(FIVE_MINUTES)
    database.time = NOON
    found = future.find()
    with database.writing() as connection:  # one row has come back, the windows are still there
        shift = found.ahead // timedelta(microseconds=1)
        future._date_back(connection, SOLE_MODEL, predictions, predictions.c.logged_at, shift, limit=1)
    assert not store.close_elapsed(FIVE_MINUTES)  # so the row is in no window yet
    future.bring_back(future.find())
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    logged, _ = times(database)
    for time in logged.values():
        assert any(start <= time < end and status == "due" for start, end, status in spans(store))


def test_a_clock_that_is_a_little_behind_is_not_taken_for_right(
    database: ClockedDatabase, store: WindowStore, future: FutureRows
) -> None:
    log_row(database, NOON, "row")
    database.time = NOON - timedelta(seconds=50)
    assert not future.find().is_wrong


def test_each_model_s_rows_come_back_to_its_own_windows(database: ClockedDatabase, future: FutureRows) -> None:
    ids = register(database, ["one", "two"], "one")
    stores = {name: WindowStore(database, model_id) for name, model_id in ids.items()}
    log_row(database, NOON, "past of two", model_id=ids["two"])
    database.time = NOON + FIVE_MINUTES
    stores["two"].close_elapsed(FIVE_MINUTES)  # of one, nothing is closed yet
    for name, model_id in ids.items():
        log_row(database, NOON + DAY, name, model_id=model_id)
    database.time = NOON + DAY + FIVE_MINUTES
    for store in stores.values():
        store.close_elapsed(FIVE_MINUTES)
    now = database.time = NOON + 2 * FIVE_MINUTES
    future.bring_back(future.find())
    assert times(database)[0] == {"past of two": NOON, "one": now, "two": now}
    database.time = NOON + 3 * FIVE_MINUTES
    for store in stores.values():
        store.close_elapsed(FIVE_MINUTES)
    assert spans(stores["one"]) == [(now, now + FIVE_MINUTES, "due")]
    assert [status for _, _, status in spans(stores["two"])] == ["due", "skipped", "due"]
