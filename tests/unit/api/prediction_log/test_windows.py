"""How time is cut into windows, and which process may claim one, at times that the test sets."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.prediction_log.lease import snapshot_lease
from api.prediction_log.reader import read_predictions
from api.prediction_log.records import LabelRecord, PredictionRecord, WindowStatus, WindowValue
from api.prediction_log.retry import FAULTS_UNTIL_DEFERRED, MAX_FAULTS, FailureCause
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from tests.clocked import NOON, ClockedDatabase
from tests.logging_rows import as_they_are

FIVE_MINUTES = timedelta(minutes=5)


@pytest.fixture
def store(database: ClockedDatabase) -> WindowStore:
    return WindowStore(database)


def log(database: ClockedDatabase, time: datetime, name: str, label: str | None = None) -> None:
    async def write() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(name, 0, "v1", "{}", "a", "{}")])
        if label is not None:
            await writer.log_labels([LabelRecord(name, label)])
        await writer.close()

    database.time = time
    asyncio.run(write())


def spans(store: WindowStore) -> list[tuple[datetime, datetime, str]]:
    return [(window.start, window.end, str(window.status)) for window in reversed(store.newest(1000))]


def test_nothing_logged_makes_no_window(database: ClockedDatabase, store: WindowStore) -> None:
    database.time = NOON + timedelta(days=1)
    assert store.close_elapsed(FIVE_MINUTES) == 0


def test_windows_are_aligned_and_touch(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON + timedelta(minutes=2), "p1")
    log(database, NOON + timedelta(minutes=7), "p2")
    database.time = NOON + timedelta(minutes=10)
    assert store.close_elapsed(FIVE_MINUTES) == 2
    assert spans(store) == [
        (NOON, NOON + FIVE_MINUTES, "due"),
        (NOON + FIVE_MINUTES, NOON + 2 * FIVE_MINUTES, "due"),
    ]


def test_a_window_is_closed_at_its_end_and_once(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON, "p1")
    database.time = NOON + FIVE_MINUTES - timedelta(microseconds=1)
    assert store.close_elapsed(FIVE_MINUTES) == 0
    database.time = NOON + FIVE_MINUTES
    assert store.close_elapsed(FIVE_MINUTES) == 1
    assert store.close_elapsed(FIVE_MINUTES) == 0


def test_hours_of_downtime_are_caught_up_in_order_and_empty_windows_skipped(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON, "p1")
    log(database, NOON + timedelta(hours=3), "p2")
    database.time = NOON + timedelta(hours=3, minutes=5)
    assert store.close_elapsed(FIVE_MINUTES) == 37
    statuses = [status for _, _, status in spans(store)]
    assert statuses == ["due"] + ["skipped"] * 35 + ["due"]
    first = store.claim()
    assert first is not None
    assert first.start == NOON


def test_a_label_that_arrives_in_a_window_without_predictions_makes_it_due(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON, "p1")
    database.time = NOON + timedelta(minutes=6)

    async def send_label() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        await writer.log_labels([LabelRecord("p1", "b")])
        await writer.close()

    asyncio.run(send_label())
    database.time = NOON + timedelta(minutes=10)
    store.close_elapsed(FIVE_MINUTES)
    assert [status for _, _, status in spans(store)] == ["due", "due"]


def test_no_row_is_logged_into_a_closed_window_even_when_the_clock_goes_back(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON, "p1")
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    log(database, NOON + timedelta(minutes=1), "late")
    assert read_predictions(database, NOON, NOON + FIVE_MINUTES, "v1", 10).total == 1
    assert read_predictions(database, NOON + FIVE_MINUTES, NOON + 2 * FIVE_MINUTES, "v1", 10).total == 1


def test_a_window_closed_by_hand_ends_now_and_the_next_ends_on_the_boundary(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON + timedelta(minutes=1), "p1")
    database.time = NOON + timedelta(minutes=2)
    window = store.close_now(FIVE_MINUTES)
    assert window is not None
    assert (window.start, window.end, window.status) == (NOON, NOON + timedelta(minutes=2), WindowStatus.DUE)
    log(database, NOON + timedelta(minutes=3), "p2")
    database.time = NOON + timedelta(minutes=5)
    store.close_elapsed(FIVE_MINUTES)
    assert spans(store)[-1][:2] == (NOON + timedelta(minutes=2), NOON + FIVE_MINUTES)


def test_closing_by_hand_twice_makes_no_empty_window(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON + timedelta(minutes=1), "p1")
    database.time = NOON + timedelta(minutes=2)
    assert store.close_now(FIVE_MINUTES) is not None
    database.time = NOON + timedelta(minutes=3)
    assert store.close_now(FIVE_MINUTES) is None


def test_a_changed_interval_goes_on_where_the_last_window_ended(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON, "p1")
    database.time = NOON + timedelta(minutes=25)
    store.close_elapsed(FIVE_MINUTES)
    log(database, NOON + timedelta(minutes=26), "p2")
    database.time = NOON + timedelta(hours=2)
    store.close_elapsed(timedelta(hours=1))
    assert [(start, end) for start, end, _ in spans(store)[-2:]] == [
        (NOON + timedelta(minutes=25), NOON + timedelta(hours=1)),
        (NOON + timedelta(hours=1), NOON + timedelta(hours=2)),
    ]


def closed_window(database: ClockedDatabase, store: WindowStore) -> Any:
    log(database, NOON, "p1")
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    return store.claim()


def test_a_window_left_running_is_claimed_again_and_its_tries_counted(
    database: ClockedDatabase, store: WindowStore
) -> None:
    assert closed_window(database, store).tries == 1
    again = store.claim()
    assert again is not None
    assert (again.tries, again.status) == (2, WindowStatus.RUNNING)


def test_a_postponed_window_waits_for_its_retry(database: ClockedDatabase, store: WindowStore) -> None:
    window = closed_window(database, store)
    assert store.defer(window, "Evidently UI is down", FailureCause.SURROUNDINGS) == timedelta(seconds=4)
    assert store.newest(1)[0].reason == "Evidently UI is down"
    assert (store.has_due_window(), store.claim()) == (False, None)
    database.time += timedelta(seconds=4)
    assert store.has_due_window()
    assert store.claim() is not None


@pytest.mark.parametrize("faults", [0, FAULTS_UNTIL_DEFERRED])
def test_no_window_waits_for_a_retry_that_was_set_while_a_clock_was_ahead(
    database: ClockedDatabase, store: WindowStore, faults: int
) -> None:
    window = replace(closed_window(database, store), faults=faults)
    right = database.time
    database.time += timedelta(days=400)
    assert store.defer(window, "down", FailureCause.SURROUNDINGS) is not None
    database.time = right
    assert store.has_due_window()
    claimed = store.claim()
    assert claimed is not None
    assert claimed.start == window.start


def test_the_next_window_does_not_wait_for_one_that_was_given_up(database: ClockedDatabase, store: WindowStore) -> None:
    window = closed_window(database, store)
    hopeless = replace(window, faults=MAX_FAULTS - 1)
    assert store.defer(hopeless, "cannot be computed", FailureCause.WINDOW) is None
    assert store.claim() is None
    log(database, NOON + timedelta(minutes=6), "p2")
    database.time = NOON + timedelta(minutes=10)
    store.close_elapsed(FIVE_MINUTES)
    claimed = store.claim()
    assert claimed is not None
    assert claimed.start == NOON + FIVE_MINUTES


def test_a_finished_window_keeps_its_values(database: ClockedDatabase, store: WindowStore) -> None:
    window = closed_window(database, store)
    values = [WindowValue("data_drift", "x", 0.5), WindowValue("accuracy", "", 0.9)]
    assert store.finish(window, values, {"status": WindowStatus.POSTED, "rows": 1})
    assert store.claim() is None
    assert [one.status for one in store.newest(10)] == [WindowStatus.POSTED]
    assert [value for _, _, value in store.series("data_drift", None, None, None, limit=10)] == [values[0]]
    assert store.series(None, None, NOON + FIVE_MINUTES, None, limit=10) == []
    pages = [store.series(None, None, None, None, limit=1, skip=skip) for skip in range(3)]
    assert [value for page in pages for _, _, value in page] == [values[1], values[0]]


def test_one_process_holds_the_lease_until_it_stops_renewing(database: ClockedDatabase) -> None:
    first, second = (snapshot_lease(database, name, timedelta(seconds=5)) for name in ("first", "second"))
    assert (first.take(), second.take()) == (True, False)
    database.time += timedelta(seconds=9)
    assert (first.take(), second.take()) == (True, False)
    database.time += timedelta(seconds=10)
    assert not first.held()
    assert second.take()
    assert (first.take(), second.held()) == (False, True)


def test_a_released_lease_is_free_at_once(database: ClockedDatabase) -> None:
    first, second = (snapshot_lease(database, name, timedelta(seconds=5)) for name in ("first", "second"))
    first.take()
    first.release()
    assert second.take()


def test_a_claim_needs_the_lease_in_the_same_transaction(database: ClockedDatabase, store: WindowStore) -> None:
    first, second = (snapshot_lease(database, name, timedelta(seconds=5)) for name in ("first", "second"))
    log(database, NOON, "p1")
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    assert first.take()
    assert store.claim(second) is None
    assert store.claim(first) is not None


def test_a_process_that_lost_its_claim_records_nothing(database: ClockedDatabase, store: WindowStore) -> None:
    lost = closed_window(database, store)
    won = store.claim()
    assert won is not None
    assert (store.is_claimed(lost), store.is_claimed(won)) == (False, True)
    assert not store.finish(lost, [WindowValue("rows", "", 1.0)], {"status": WindowStatus.POSTED, "rows": 1})
    store.defer(lost, "too late", FailureCause.WINDOW)
    store.release_claim(lost)
    assert store.newest(1) == [won]
    assert store.series(None, None, None, None, limit=10) == []
    assert store.finish(won, [], {"status": WindowStatus.POSTED})


def test_a_released_window_is_claimed_again_without_a_fault(database: ClockedDatabase, store: WindowStore) -> None:
    store.release_claim(closed_window(database, store))
    again = store.claim()
    assert again is not None
    assert (again.tries, again.faults) == (2, 0)


def test_waits_double_up_to_a_bound_however_long_evidently_ui_is_down(
    database: ClockedDatabase, store: WindowStore
) -> None:
    window = closed_window(database, store)
    waits = []
    for _ in range(60):
        wait = store.defer(window, "down", FailureCause.SURROUNDINGS)
        assert wait is not None
        waits.append(wait.total_seconds())
        database.time += wait
        window = store.claim()
        assert window is not None
    assert waits[:8] == [4, 8, 16, 32, 64, 128, 256, 300]
    assert set(waits[8:]) == {300}


def test_a_window_that_fails_by_itself_is_deferred_tried_hourly_and_given_up_after_a_day(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON, "p1")
    log(database, NOON + timedelta(minutes=6), "p2")
    database.time = NOON + timedelta(minutes=10)
    store.close_elapsed(FIVE_MINUTES)
    poisonous = store.claim()
    assert poisonous is not None
    for _ in range(FAULTS_UNTIL_DEFERRED - 1):
        wait = store.defer(poisonous, "refused", FailureCause.WINDOW)
        assert store.claim() is None  # the order of age is kept as long as there is hope
        assert wait is not None
        database.time += wait
        poisonous = store.claim()
        assert poisonous is not None
        assert poisonous.start == NOON
    assert store.defer(poisonous, "refused", FailureCause.WINDOW) == timedelta(hours=1)
    second = store.claim()
    assert second is not None
    assert second.start == NOON + FIVE_MINUTES
    store.finish(second, [], {"status": WindowStatus.POSTED})
    hours = 0
    while True:
        assert store.claim() is None
        database.time += timedelta(hours=1)
        hours += 1
        again = store.claim()
        assert again is not None
        assert again.start == NOON
        if store.defer(again, "refused", FailureCause.WINDOW) is None:
            break
    assert hours == 24
    database.time += timedelta(days=30)
    assert (store.has_due_window(), store.claim()) == (False, None)
    assert store.newest(2)[1].reason == "refused"


def test_a_window_during_which_the_process_dies_again_and_again_is_deferred(
    database: ClockedDatabase, store: WindowStore
) -> None:
    log(database, NOON, "p1")
    log(database, NOON + timedelta(minutes=6), "p2")
    database.time = NOON + timedelta(minutes=10)
    store.close_elapsed(FIVE_MINUTES)
    claimed = [store.claim() for _ in range(FAULTS_UNTIL_DEFERRED + 1)]
    assert [window.start for window in claimed if window] == [NOON] * FAULTS_UNTIL_DEFERRED + [NOON + FIVE_MINUTES]
    assert store.newest(2)[1].reason == "the process ended while it processed this window"


def test_a_month_without_a_row_is_one_window(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON, "p1")
    log(database, NOON + timedelta(days=30, minutes=7), "p2")
    database.time = NOON + timedelta(days=30, minutes=10)
    assert store.close_elapsed(FIVE_MINUTES) == 3
    assert spans(store) == [
        (NOON, NOON + FIVE_MINUTES, "due"),
        (NOON + FIVE_MINUTES, NOON + timedelta(days=30, minutes=5), "skipped"),
        (NOON + timedelta(days=30, minutes=5), NOON + timedelta(days=30, minutes=10), "due"),
    ]


def test_empty_windows_of_a_clock_that_was_ahead_are_deleted(database: ClockedDatabase, store: WindowStore) -> None:
    log(database, NOON, "p1")
    database.time = NOON + FIVE_MINUTES
    store.close_elapsed(FIVE_MINUTES)
    before = spans(store)
    database.time = NOON + timedelta(days=365)
    assert store.close_elapsed(FIVE_MINUTES) == 1
    database.time = NOON + timedelta(minutes=7)
    log(database, NOON + timedelta(minutes=8), "p2")  # dated into the future, as the horizon is still there
    store.close_elapsed(FIVE_MINUTES)
    assert spans(store)[: len(before)] == before
    log(database, NOON + timedelta(minutes=9), "p3")
    assert read_predictions(database, NOON + FIVE_MINUTES, NOON + 2 * FIVE_MINUTES, "v1", 10).total == 1


def test_a_lease_that_ends_in_a_far_future_comes_from_a_wrong_clock_and_may_be_taken(database: ClockedDatabase) -> None:
    first, second = (snapshot_lease(database, name, timedelta(seconds=5)) for name in ("first", "second"))
    database.time = NOON + timedelta(days=365)
    assert first.take()
    database.time = NOON
    assert second.take()
    assert not first.take()
