"""Several models in one log: their ids, and that what is one model's stays its own; on each kind of database."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from api.errors import PayloadError
from api.prediction_log.alarms import AlarmAction, AlarmLog
from api.prediction_log.expiry import ExpiredRows, LogExpiry
from api.prediction_log.export import count_logged, read_logged
from api.prediction_log.models import ServedVersion, ServedVersionStore, known_models, register
from api.prediction_log.reader import (
    VersionCount,
    count_versions,
    read_filled_windows,
    read_held_span,
    read_labelled,
    read_predictions,
    read_progress,
    read_rejections,
)
from api.prediction_log.records import (
    SOLE_MODEL,
    LabelRecord,
    PredictionRecord,
    WindowRecord,
    WindowStatus,
    WindowValue,
    prediction_key,
    public_id,
)
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.retry import FAULTS_UNTIL_DEFERRED, FailureCause
from api.prediction_log.tables import predictions
from api.prediction_log.windows import MinimalWindow, WindowStore, next_claimable
from api.prediction_log.writer import LogWriter
from tests.clocked import NOON, ClockedDatabase
from tests.logging_rows import as_they_are

HOUR = timedelta(hours=1)
ALWAYS = (NOON - 1000 * HOUR, NOON + 1000 * HOUR)
ALL = ONE, TWO, THREE = 1, 2, 3


@pytest.fixture
def database(database_url: str) -> Iterator[ClockedDatabase]:
    database = ClockedDatabase(database_url)
    database.migrate()
    assert register(database, ["one", "three", "two"], "one") == {"one": ONE, "three": 2, "two": 3}
    yield database
    database.dispose()


def record(model_id: int, name: str, version: str = "v1") -> PredictionRecord:
    return PredictionRecord(prediction_key(model_id, name), 0, version, "{}", "a", "{}", model_id)


def log(database: ClockedDatabase, time: datetime, *records: PredictionRecord, labelled: Sequence[str] = ()) -> None:
    async def write() -> None:
        writer = LogWriter(database, 100_000, respond=as_they_are)
        writer.start()
        if records:
            await writer.log_responses(records)
        if labelled:
            await writer.log_labels([LabelRecord(key, "b") for key in labelled])
        await writer.close()

    database.time = time
    asyncio.run(write())


def post_all(store: WindowStore) -> list[WindowRecord]:
    posted = []
    while (window := store.claim()) is not None:
        changed = {"status": WindowStatus.POSTED, "snapshot_id": "s", "report_file": "r", "model_version": "v1"}
        assert store.finish(window, [WindowValue("data_drift", "x", float(store.model_id))], changed)
        posted.append(window)
    return posted


@pytest.mark.parametrize(
    ("model_id", "given", "key"),
    [
        (1, "018f-uuid", "018f-uuid"),
        (1, "a:1", "a:1"),
        (1, "7:a", "1:7:a"),
        (1, "1:1:a", "1:1:1:a"),
        (1, "7", "7"),
        (2, "a", "2:a"),
        (2, "7:a", "2:7:a"),
        (12, "", "12:"),
    ],
)
def test_a_key_gives_the_id_back(model_id: int, given: str, key: str) -> None:
    assert prediction_key(model_id, given) == key
    assert public_id(key) == given


def test_no_two_models_share_a_key() -> None:
    ids = ["a", "1:a", "2:a", "1:1:a", "2:1:a", "12:a", ":a", "1:"]
    keys = [prediction_key(model_id, one) for model_id in (1, 2, 12) for one in ids]
    assert len(set(keys)) == len(keys)


def test_a_name_keeps_its_id_and_only_a_new_one_gets_one(database: ClockedDatabase) -> None:
    assert register(database, ["two"], "two") == {"two": 3}  # the others' folders are gone
    assert register(database, ["four", "one"], "four") == {"four": 4, "one": ONE}
    assert register(database, ["three", "one"], "one") == {"three": 2, "one": ONE}
    assert known_models(database) == {"one": ONE, "three": 2, "two": 3, "four": 4}


def test_the_first_default_gets_the_rows_from_before_models_had_names(database_url: str) -> None:
    database = ClockedDatabase(database_url)
    database.migrate()
    log(database, NOON, record(SOLE_MODEL, "old"))
    assert known_models(database) == {}
    assert register(database, ["a", "z"], "z") == {"a": 2, "z": SOLE_MODEL}
    assert read_predictions(database, *ALWAYS, "v1", 10, model_id=SOLE_MODEL).total == 1
    database.dispose()


def test_processes_that_register_at_once_agree(database_url: str) -> None:
    database = ClockedDatabase(database_url)
    database.migrate()
    names = [f"m{number}" for number in range(20)]
    processes = [
        subprocess.Popen([sys.executable, "-c", REGISTER, database_url, *names[turn:], *names[:turn]],
                         stdout=subprocess.PIPE, text=True)
        for turn in (0, 10)
    ]  # fmt: skip
    found = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert found[0] == found[1]
    ids = known_models(database)
    assert sorted(ids.values()) == list(range(1, 21))
    assert ids["m0"] == SOLE_MODEL
    database.dispose()


REGISTER = """
import sys
from api.prediction_log.database import Database
from api.prediction_log.models import register
print(sorted(register(Database(sys.argv[1], 30), sys.argv[2:], "m0").items()))
"""


def test_what_is_read_of_a_model_is_its_own(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), record(TWO, "a"), record(TWO, "b"), labelled=["2:a"])
    log(database, NOON + HOUR, record(THREE, "a"), labelled=["a", "3:a"])
    totals = [read_predictions(database, *ALWAYS, "v1", 10, model_id=one).total for one in (ONE, TWO, THREE)]
    assert totals == [1, 2, 1]
    labelled = [read_labelled(database, NOON, NOON + HOUR, None, 10, model_id=one).total for one in (ONE, TWO, THREE)]
    assert labelled == [0, 1, 0]
    exported = [
        one for page in read_logged(database, *ALWAYS, labelled=False, page_rows=1, model_id=TWO) for one in page
    ]
    assert [(one.prediction_id, one.label) for one in exported] == [("a", "b"), ("b", None)]
    assert count_logged(database, *ALWAYS, labelled=True, model_id=TWO) == {"v1": 1}
    assert count_versions(database, *ALWAYS, TWO) == {"v1": VersionCount(2, 1)}
    assert read_filled_windows(database, *ALWAYS, 3600, TWO) == {NOON: 3}
    spans = [read_held_span(database, one) for one in (ONE, TWO, THREE, 9)]
    assert [span and (span.first, span.last) for span in spans] == [
        (NOON, NOON + HOUR),
        (NOON, NOON),
        (NOON + HOUR, NOON + HOUR),
        None,
    ]


def test_refused_requests_are_those_of_the_model_that_refused_them(database: ClockedDatabase) -> None:
    async def write() -> None:
        writer = LogWriter(database, 10)
        writer.start()
        writer.count_rejection("missing", TWO)
        writer.count_rejection("missing", TWO)
        writer.count_rejection("missing", THREE)
        writer.count_rejection("no such path")
        await writer.close()

    asyncio.run(write())
    found = [read_rejections(database, *ALWAYS, one) for one in (SOLE_MODEL, TWO, THREE)]
    assert found == [{"no such path": 1}, {"missing": 2}, {"missing": 1}]


def test_rows_of_several_models_share_a_commit_and_each_is_called_once(database: ClockedDatabase) -> None:
    calls: list[tuple[str, int]] = []
    commits: list[int] = []

    def model(name: str) -> "object":
        def respond(rows: Sequence[PredictionRecord]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
            calls.append((name, len(rows)))
            return rows, [f"{name} {row.prediction_id}".encode() for row in rows]

        return respond

    async def write() -> list[Sequence[bytes]]:
        writer = LogWriter(database, 1000, lambda rows, _seconds: commits.append(rows))
        one, two = model("one"), model("two")
        pending = [
            asyncio.create_task(writer.log_responses([record(model_id, f"p{n}")], respond))  # type: ignore[arg-type]
            for n in range(20)
            for model_id, respond in ((ONE, one), (TWO, two))
        ]
        await asyncio.sleep(0)
        writer.start()
        answers = await asyncio.gather(*pending)
        await writer.close()
        return answers

    answers = asyncio.run(write())
    assert commits == [40]
    assert sorted(calls) == [("one", 20), ("two", 20)]
    assert answers[:4] == [[b"one p0"], [b"two 2:p0"], [b"one p1"], [b"two 2:p1"]]


def test_a_row_that_one_model_cannot_take_fails_no_request_to_another(database: ClockedDatabase) -> None:
    calls: list[int] = []

    def refuse(rows: Sequence[PredictionRecord]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
        if any(row.prediction == "bad" for row in rows):
            raise PayloadError("not that one")
        return as_they_are(rows)

    def count(rows: Sequence[PredictionRecord]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
        calls.append(len(rows))
        return as_they_are(rows)

    async def write() -> list[object]:
        writer = LogWriter(database, 1000)
        bad = record(ONE, "bad")._replace(prediction="bad")
        requests = [(refuse, bad), (count, record(TWO, "a")), (refuse, record(ONE, "good")), (count, record(TWO, "b"))]
        pending = [asyncio.create_task(writer.log_responses([row], respond)) for respond, row in requests]
        await asyncio.sleep(0)
        writer.start()
        outcomes = await asyncio.gather(*pending, return_exceptions=True)
        await writer.close()
        return list(outcomes)

    outcomes = asyncio.run(write())
    assert [isinstance(outcome, PayloadError) for outcome in outcomes] == [True, False, False, False]
    assert calls == [2], "the other model is asked once"
    with database.reading() as connection:
        keys = connection.execute(select(predictions.c.id)).scalars()
        assert set(keys) == {"2:a", "good", "2:b"}


def test_each_model_has_its_own_closed_windows_and_no_row_goes_into_them(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), record(TWO, "a"))
    database.time = NOON + HOUR
    stores = [WindowStore(database, one) for one in (ONE, TWO, THREE)]
    assert [store.close_elapsed(HOUR) for store in (stores[0], stores[2])] == [1, 0]
    # the clock goes back: the first model's rows wait for it, the second one's do not
    log(database, NOON + HOUR / 2, record(ONE, "b"), record(TWO, "b"), labelled=["a", "2:a"])
    assert [read_predictions(database, NOON, NOON + HOUR, "v1", 9, model_id=one).total for one in (ONE, TWO)] == [1, 2]
    assert [read_labelled(database, NOON, NOON + HOUR, "v1", 9, model_id=one).total for one in (ONE, TWO)] == [0, 1]
    database.time = NOON + 2 * HOUR
    assert [store.close_elapsed(timedelta(minutes=30)) for store in stores] == [2, 4, 0]
    assert [[window.status for window in store.newest(9)] for store in stores] == [
        ["skipped", "due", "due"],
        ["skipped", "skipped", "due", "due"],
        [],
    ]


def test_a_window_of_one_model_is_closed_by_hand_only_if_that_model_has_enough(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), *(record(TWO, f"p{n}") for n in range(5)))
    enough = MinimalWindow(rows=3, labels=3)
    with pytest.raises(Exception, match="1 of at least 3 rows"):
        WindowStore(database, ONE).close_now(HOUR, enough)
    assert WindowStore(database, THREE).close_now(HOUR, enough) is None
    closed = WindowStore(database, TWO).close_now(HOUR, enough)
    assert closed is not None
    assert (closed.model_id, WindowStore(database, ONE).newest(9)) == (TWO, [])


def test_what_windows_measured_is_kept_apart_though_they_start_at_once(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), record(TWO, "a"))
    database.time = NOON + HOUR
    stores = [WindowStore(database, one) for one in (ONE, TWO)]
    for store in stores:
        store.close_elapsed(HOUR)
        assert [window.model_id for window in post_all(store)] == [store.model_id]
    assert [[value.value for _, _, value in store.series(None, None, None, None, limit=9)] for store in stores] == [
        [1.0],
        [2.0],
    ]
    alarms = [AlarmLog(database, one) for one in (ONE, TWO)]
    assert [one.measured("v1")[0].values for one in alarms] == [{("data_drift", "x"): 1.0}, {("data_drift", "x"): 2.0}]
    alarms[0].add("v1", AlarmAction.LEARNED, "{}")
    assert [one.newest("v1") is None for one in alarms] == [False, True]
    retained = [RetainedWindows(database, one) for one in (ONE, TWO)]
    (window,) = retained[1].with_snapshot()
    retained[0].mark_report_removed(window)  # what is done to a window is done to its own model's
    assert retained[1].mark_snapshot_removed(window) == 1
    assert [len(one.with_snapshot()) for one in retained] == [1, 0]
    assert [len(one.with_report(NOON + 9 * HOUR)) for one in retained] == [1, 0]
    assert len(stores[0].series(None, None, None, None, limit=9)) == 1
    assert [[window.model_id for window in store.measured(["data_drift"], "v1", 9)] for store in stores] == [[1], []]
    assert [run.window.model_id for store in stores for run in store.newest_runs(9)] == [1, 2]


def test_each_model_has_its_own_version_to_serve(database: ClockedDatabase) -> None:
    one, two = ServedVersionStore(database, ONE), ServedVersionStore(database, TWO)
    assert one.announce("v1") == ServedVersion(1, "v1")
    assert two.newest() is None
    assert two.announce("v7") == ServedVersion(1, "v7")
    assert two.announce("v8") == ServedVersion(2, "v8")
    assert one.newest() == ServedVersion(1, "v1")


def test_progress_is_that_of_one_model(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), record(TWO, "a"))
    database.time = NOON + HOUR
    WindowStore(database, TWO).close_elapsed(HOUR)
    database.time = NOON + 3 * HOUR
    progress = [read_progress(database, HOUR, one) for one in (ONE, TWO, THREE)]
    assert [(one.waiting, one.behind) for one in progress] == [(0, 2 * HOUR), (1, 2 * HOUR), (0, timedelta(0))]


def test_the_window_that_has_waited_longest_is_next_whichever_model_it_is(database: ClockedDatabase) -> None:
    stores = {one: WindowStore(database, one) for one in (ONE, TWO, THREE)}
    log(database, NOON, record(THREE, "a"))
    log(database, NOON + HOUR, record(TWO, "a"))
    log(database, NOON + 2 * HOUR, record(ONE, "a"), record(THREE, "b"))
    assert next_claimable(database, ALL) is None
    database.time = NOON + 3 * HOUR
    for store in stores.values():
        store.close_elapsed(HOUR)
    order = []
    while (model_id := next_claimable(database, ALL)) is not None:
        window = stores[model_id].claim()
        assert window is not None
        order.append((model_id, window.start))
        stores[model_id].finish(window, [], {"status": WindowStatus.POSTED})
    assert order == [(THREE, NOON), (TWO, NOON + HOUR), (ONE, NOON + 2 * HOUR), (THREE, NOON + 2 * HOUR)]


def test_a_long_window_that_has_just_ended_does_not_overtake_a_short_one_that_waits(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"))
    log(database, NOON + 10 * HOUR, record(TWO, "a"))
    database.time = NOON + 11 * HOUR
    WindowStore(database, TWO).close_elapsed(HOUR)
    database.time = NOON + 12 * HOUR
    WindowStore(database, ONE).close_elapsed(24 * HOUR)
    assert next_claimable(database, ALL) == TWO


def test_a_model_whose_window_fails_keeps_no_other_model_waiting(database: ClockedDatabase) -> None:
    stores = {one: WindowStore(database, one) for one in (ONE, TWO)}
    log(database, NOON, record(ONE, "a"))
    log(database, NOON + HOUR, record(ONE, "b"), record(TWO, "a"))
    database.time = NOON + 2 * HOUR
    for store in stores.values():
        store.close_elapsed(HOUR)
    failing = stores[ONE].claim()
    assert failing is not None
    wait = stores[ONE].defer(failing, "no", FailureCause.SURROUNDINGS)
    assert wait is not None
    assert (stores[ONE].has_due_window(), next_claimable(database, ALL)) == (False, TWO)
    assert len(post_all(stores[TWO])) == 1
    assert next_claimable(database, ALL) is None
    database.time += wait
    assert next_claimable(database, ALL) == ONE
    for _ in range(FAULTS_UNTIL_DEFERRED):
        failing = stores[ONE].claim()
        assert failing is not None
        wait = stores[ONE].defer(failing, "no", FailureCause.WINDOW)
        assert wait is not None
        database.time += wait if failing.faults + 1 < FAULTS_UNTIL_DEFERRED else timedelta(0)
    assert next_claimable(database, ALL) == ONE, "a window that is put off keeps its model waiting no longer"
    claimed = stores[ONE].claim()
    assert claimed is not None
    assert claimed.start == NOON + HOUR


def test_a_model_keeps_its_rows_for_its_own_time(database: ClockedDatabase) -> None:
    for model_id in (ONE, TWO, THREE):
        log(database, NOON, *(record(model_id, f"old{n}") for n in range(3)))
    log(database, NOON + 5 * HOUR, record(ONE, "new"), record(TWO, "new"), labelled=["2:new"])
    database.time = NOON + 6 * HOUR
    for model_id in (ONE, TWO, THREE):
        store = WindowStore(database, model_id)
        store.close_elapsed(HOUR)
        post_all(store)
    expiry, before = LogExpiry(database), NOON + HOUR
    own = {ONE: NOON - HOUR, TWO: NOON + 6 * HOUR}
    counted = expiry.count(before, own)
    assert (counted.predictions, counted.labels) == (7, 1)
    gone = [expiry.remove(before, 4, own) for _ in range(3)]
    assert (sum(one.predictions for one in gone), sum(one.labels for one in gone)) == (7, 1)
    assert gone[-1] == ExpiredRows()
    with database.reading() as connection:
        left = set(connection.execute(select(predictions.c.id)).scalars())
    assert left == {"old0", "old1", "old2", "new"}
    assert expiry.remove(before, 10) == ExpiredRows(3, 0)


def test_the_window_that_one_model_has_yet_to_read_keeps_no_row_of_another(database: ClockedDatabase) -> None:
    log(database, NOON, record(ONE, "a"), record(TWO, "a"))
    database.time = NOON + HOUR
    for model_id in (ONE, TWO):
        WindowStore(database, model_id).close_elapsed(HOUR)
    post_all(WindowStore(database, TWO))
    assert LogExpiry(database).remove(NOON + HOUR, 10).predictions == 1
    assert read_predictions(database, *ALWAYS, "v1", 9, model_id=ONE).total == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # it says how it will look
def test_every_look_for_one_model_goes_through_an_index_that_begins_with_the_model(database: ClockedDatabase) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def keep(_c: object, _cursor: object, statement: str, values: tuple[object, ...], *_rest: object) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, values))

    log(database, NOON, record(TWO, "a"), labelled=["2:a"])
    database.time = NOON + HOUR
    store = WindowStore(database, TWO)
    store.close_elapsed(HOUR)
    post_all(store)
    store.newest(5, WindowStatus.POSTED)
    store.series("data_drift", "x", *ALWAYS, limit=5)
    read_predictions(database, *ALWAYS, "v1", 5, model_id=TWO)
    read_labelled(database, *ALWAYS, "v1", 5, model_id=TWO)
    read_progress(database, HOUR, TWO)
    RetainedWindows(database, TWO).with_snapshot()
    AlarmLog(database, TWO).measured("v1")
    LogExpiry(database).remove(NOON, 5)
    with database.reading() as connection:
        plans = [
            (statement, str(step[3]))
            for statement, values in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        ]
    big = ("predictions", "labels", "windows", "window_values", "window_statistics")
    looks = [(plan, statement) for statement, plan in plans if plan.split()[0] in {"SCAN", "SEARCH"}]
    assert looks
    slow = [(p, s) for p, s in looks if p.split()[1] in big and "model_id=?" not in p and "prediction_id=?" not in p]
    assert [(plan, statement) for plan, statement in slow if "(id=?)" not in plan] == []
