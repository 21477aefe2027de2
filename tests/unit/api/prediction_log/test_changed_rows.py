"""The rows that failed checks found, recorded with their window and read back with what the log has of them."""

import json
import zlib
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from api.prediction_log.changed_rows import CarryingRow, RowsOfCheck, read_changed_rows, record_changed_rows
from api.prediction_log.database import Database, microseconds
from api.prediction_log.erasure import erase, erase_mentions
from api.prediction_log.inserts import insert_predictions, store_labels
from api.prediction_log.records import LabelRecord, PredictionRecord, WindowStatus, prediction_key
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.tables import changed_rows, predictions, windows
from api.prediction_log.windows import WindowStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOUND = [
    RowsOfCheck("data_drift", "x0", None, [("a", 1.0), ("b", 0.5), ("c", 0.25)]),
    RowsOfCheck("data_drift", "x1", None, [("c", 0.9)]),
    RowsOfCheck("performance", "accuracy", "accuracy", [("b", 0.8)]),
]


@pytest.fixture(params=[1, 2])
def model_id(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def database(database_url: str, model_id: int) -> Iterator[Database]:
    database = Database(database_url)
    database.migrate()
    start = microseconds(NOON)
    window = {"model_id": model_id, "start": start, "end": start + 60_000_000, "status": "posted", "tries": 1}
    records = [
        PredictionRecord(prediction_key(model_id, one), 0, "v1", f'{{"x0":{place}}}', "yes", '{"yes":0.5}', model_id)
        for place, one in enumerate("abc")
    ]
    with database.writing() as connection:
        connection.execute(insert(windows).values(**window, snapshot_id="s", failed_checks=[], not_computed=[]))
        insert_predictions(connection, {model_id: start}, records)
        store_labels(connection, {model_id: start}, [LabelRecord(prediction_key(model_id, "b"), "no")])
        record_changed_rows(connection, model_id, start, FOUND)
    yield database
    database.dispose()


def ids(database: Database, model_id: int, **wanted: str | None) -> list[str]:
    return [row.prediction_id for row in rows(database, model_id, 10, **wanted)]


def rows(database: Database, model_id: int, limit: int, **wanted: str | None) -> list[CarryingRow]:
    found = read_changed_rows(database, NOON, limit=limit, model_id=model_id, **wanted)
    assert found is not None
    return found


def test_each_check_has_its_rows_with_what_was_logged_of_them(database: Database, model_id: int) -> None:
    found = rows(database, model_id, 4)
    assert [(row.check, row.column, row.prediction_id, row.score) for row in found] == [
        ("data_drift", "x0", "a", 1.0),
        ("data_drift", "x1", "c", 0.9),
        ("performance", "accuracy", "b", 0.8),
    ]
    assert len(rows(database, model_id, 2)) == 2
    last = found[-1]
    assert (last.features, last.prediction, last.probabilities, last.label) == ({"x0": 1}, "yes", {"yes": 0.5}, "no")
    assert (last.logged_at, last.model_version, found[0].label) == (NOON, "v1", None)
    assert len(rows(database, model_id, 9)) == 5


def test_one_check_or_column_can_be_asked_for(database: Database, model_id: int) -> None:
    assert ids(database, model_id, check="data_drift") == ["a", "b", "c", "c"]
    assert ids(database, model_id, column="x1") == ["c"]
    assert ids(database, model_id, check="performance", column="x1") == []


def test_rows_that_left_the_log_make_room_for_the_next(database: Database, model_id: int) -> None:
    with database.writing() as connection:
        connection.execute(delete(predictions).where(predictions.c.id == prediction_key(model_id, "a")))
    found = rows(database, model_id, 2, check="data_drift", column="x0")
    assert [row.prediction_id for row in found] == ["b", "c"]


def test_no_row_is_read_that_is_not_returned(database: Database, model_id: int) -> None:
    with database.writing() as connection:
        others = predictions.c.id != prediction_key(model_id, "a")
        connection.execute(update(predictions).where(others).values(features="cannot be read"))
    assert [row.prediction_id for row in rows(database, model_id, 1)] == ["a"]


def test_a_second_try_replaces_what_the_first_recorded(database: Database, model_id: int) -> None:
    with database.writing() as connection:
        record_changed_rows(connection, model_id, microseconds(NOON), FOUND[1:2])
    assert ids(database, model_id) == ["c"]
    with database.writing() as connection:
        record_changed_rows(connection, model_id, microseconds(NOON), [])
        assert connection.execute(changed_rows.select()).all() == []


def test_they_go_with_the_values_of_the_window(database: Database, model_id: int) -> None:
    store = WindowStore(database, model_id)
    (window,) = store.newest(1, WindowStatus.POSTED)
    RetainedWindows(database, model_id).mark_snapshot_removed(window)
    assert ids(database, model_id) == []


def test_there_is_no_window_of_another_time_or_model(database: Database, model_id: int) -> None:
    assert read_changed_rows(database, NOON + timedelta(minutes=1), limit=9, model_id=model_id) is None
    assert read_changed_rows(database, NOON, limit=9, model_id=3) is None


def recorded(database: Database, model_id: int) -> list[str]:
    """Return the ids that the window's record names, whether the log has them or not."""
    with database.reading() as connection:
        content = connection.execute(select(changed_rows.c.content).where(changed_rows.c.model_id == model_id)).scalar()
    found = [] if content is None else json.loads(zlib.decompress(content))
    return sorted({row_id for *_, rows_of_check in found for row_id, _ in rows_of_check})


def blanked(reports: list[tuple[str, set[str]]]) -> Callable[[str, Collection[str]], None]:
    return lambda name, of: reports.append((name, set(of)))


def test_an_erased_id_is_named_no_more(database: Database, model_id: int) -> None:
    other = 3 - model_id
    start = microseconds(NOON)
    window = {"model_id": other, "start": start, "end": start + 60_000_000, "status": "posted", "tries": 1}
    with database.writing() as connection:
        connection.execute(insert(windows).values(**window, failed_checks=[], not_computed=[]))
        insert_predictions(
            connection, {other: start}, [PredictionRecord(prediction_key(other, "b"), 0, "v1", "{}", "a", "{}", other)]
        )
        record_changed_rows(connection, other, start, FOUND[2:])
        connection.execute(update(windows).where(windows.c.model_id == model_id).values(report_file="day/report.html"))
    reports: list[tuple[str, set[str]]] = []
    assert erase(database, ["b"], by="a test", model_id=model_id) == ["b"]
    named = erase_mentions(database, ["b", "nobody"], by="a test", blank=blanked(reports), model_id=model_id)
    assert (named, reports) == ({"b"}, [("day/report.html", {"b"})])
    assert recorded(database, model_id) == ["a", "c"]
    assert ids(database, model_id, check="performance") == []
    assert recorded(database, other) == ["b"], "the id of another model is another prediction"


def test_a_window_whose_last_named_row_is_erased_has_no_record(database: Database, model_id: int) -> None:
    assert erase_mentions(database, list("abc"), by="a test", blank=blanked([]), model_id=model_id) == set("abc")
    with database.reading() as connection:
        assert connection.execute(changed_rows.select()).all() == []


def test_an_id_stays_recorded_until_its_report_is_changed(database: Database, model_id: int) -> None:
    with database.writing() as connection:
        connection.execute(update(windows).where(windows.c.model_id == model_id).values(report_file="day/report.html"))

    def fail(_name: str, _ids: Collection[str]) -> None:
        raise PermissionError("the report may not be written")

    with pytest.raises(PermissionError):
        erase_mentions(database, ["b"], by="a test", blank=fail, model_id=model_id)
    assert recorded(database, model_id) == ["a", "b", "c"], "so that the next call finds it"


def test_what_was_erased_while_the_window_was_measured_is_not_recorded(database: Database, model_id: int) -> None:
    assert erase(database, ["b"], by="a test", model_id=model_id) == ["b"]
    with database.writing() as connection:
        record_changed_rows(connection, model_id, microseconds(NOON), FOUND)
    assert recorded(database, model_id) == ["a", "c"]
    assert WindowStore(database, model_id).erased_rows(FOUND) == {"b"}
