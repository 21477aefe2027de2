"""Rows that are logged without names read as rows that are logged with them, on each kind of database."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import orjson
import pytest
from sqlalchemy import delete, insert, select, update

from api.errors import IdInUse, LogUnavailable
from api.prediction_log.changed_rows import RowsOfCheck, read_changed_rows, record_changed_rows
from api.prediction_log.database import Database, microseconds
from api.prediction_log.export import count_logged, read_logged
from api.prediction_log.inserts import find_predictions, insert_predictions, same_row, store_labels
from api.prediction_log.layouts import LayoutStore, RowLayout
from api.prediction_log.reader import VersionCount, count_versions, read_labelled, read_predictions
from api.prediction_log.records import LabelRecord, PredictionRecord
from api.prediction_log.tables import log_identity, predictions, row_layouts, windows
from api.prediction_log.writer import LogWriter
from api.serving.responses import IdentifiedRow, Responses, RowWithMetadata, responses_for
from model.serving.predictor import load_predictor
from tests.clocked import NOON, ClockedDatabase, JumpyDatabase, WorldClock

HOUR = timedelta(hours=1)
LAYOUT = RowLayout.of("v1", ["größe", "b"], ["yes", "no"])
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [7.2, 3.2, 6.0, None], [6.0, 2.7, 5.1, 1.6]]


@pytest.fixture(params=["iris_artifact", "diabetes_artifact"])
def responses(request: pytest.FixtureRequest, database: ClockedDatabase) -> Callable[..., Responses]:
    """Build the responses of a model with and without a layout."""
    predictor = load_predictor(request.getfixturevalue(request.param))
    return lambda layouts=None: responses_for(predictor, layout_id=None if layouts is None else layouts.id_of)


def rows_of(responses: Responses, prefix: str) -> list[IdentifiedRow]:
    """Three rows with ids of their own, one of which brings metadata along."""
    values = [[feature.example for feature in responses.manifest.features] for _ in range(3)]
    values[1][-1] = None
    values[2][0] = 5.5
    rode_along = RowWithMetadata(values[2], {"shop": "Köln", "till": None})
    return [IdentifiedRow(row, f"{prefix}{place}") for place, row in enumerate((*values[:2], rode_along))]


def log(database: Database, records: Sequence[PredictionRecord]) -> None:
    with database.writing() as connection:
        insert_predictions(connection, database.stamps(connection), records)


def logged_alike(database: ClockedDatabase, responses: Callable[..., Responses]) -> str:
    """Log the same rows by name in the hour of noon, and with a layout in the next one, with labels; the version."""
    for hour, layouts in ((0, None), (1, LayoutStore(database))):
        database.time = NOON + hour * HOUR
        model = responses(layouts)
        records = model.respond(rows_of(model, "abc"[hour]))[0]
        assert all((one.layout is None) == (layouts is None) for one in records)
        log(database, [one._replace(sample_key=place) for place, one in enumerate(records)])
        with database.writing() as connection:
            store_labels(connection, database.stamps(connection), [LabelRecord(f"{'abc'[hour]}1", "4")])
    database.time = NOON + 2 * HOUR
    return model.manifest.version


def test_every_reader_reads_both_forms_alike(database: ClockedDatabase, responses: Callable[..., Responses]) -> None:
    version = logged_alike(database, responses)
    hours = [(NOON + hour * HOUR, NOON + (hour + 1) * HOUR) for hour in range(2)]
    for read, total in ((read_predictions, 3), (read_labelled, 1)):
        for wanted in (version, None):
            named, laid_out = (read(database, *hour, wanted, 10) for hour in hours)
            assert (named.total, named.other_versions) == (laid_out.total, laid_out.other_versions) == (total, 0)
            for one, other in zip(named.rows, laid_out.rows, strict=True):
                assert one.features == other.features
                assert (one.prediction, one.probabilities) == (other.prediction, other.probabilities)
                assert (one.model_version, one.label) == (other.model_version, other.label)
    assert list(laid_out.rows[0].features) == list(named.rows[0].features), "in the same order"
    assert count_versions(database, *hours[1]) == count_versions(database, *hours[0]) == {version: VersionCount(3, 1)}
    assert count_logged(database, NOON, hours[1][1], labelled=False) == {version: 6}
    exported = [row for page in read_logged(database, NOON, hours[1][1], labelled=False) for row in page]
    assert [one[2:7] for one in exported[:3]] == [one[2:7] for one in exported[3:]]
    assert exported[5].features == {"shop": "Köln", "till": None} | exported[2].features


def test_the_rows_that_carry_a_change_read_alike(
    database: ClockedDatabase, responses: Callable[..., Responses]
) -> None:
    logged_alike(database, responses)
    start = microseconds(NOON)
    window = {"start": start, "end": start + 1, "status": "posted", "tries": 1, "failed_checks": [], "not_computed": []}
    with database.writing() as connection:
        connection.execute(insert(windows).values(**window))
        record_changed_rows(connection, 1, start, [RowsOfCheck("data_drift", "x", None, [("a2", 1.0), ("b2", 1.0)])])
    named, laid_out = read_changed_rows(database, NOON, limit=5) or []
    assert named.features["shop"] == "Köln"
    for field in ("features", "prediction", "probabilities", "model_version"):
        assert getattr(named, field) == getattr(laid_out, field)


@pytest.mark.parametrize("first", ["by name", "with a layout"])
def test_a_repeated_row_is_answered_as_before_whatever_its_form(
    database: ClockedDatabase, responses: Callable[..., Responses], first: str
) -> None:
    """As where an older process logged the row, or one that could not store its layout then."""
    store = LayoutStore(database)
    before, now = (responses(), responses(store)) if first == "by name" else (responses(store), responses())
    rows = rows_of(now, "p")

    async def send(model: Responses, *groups: list[IdentifiedRow]) -> list[Any]:
        writer = LogWriter(database, 1000)
        calls = [asyncio.create_task(writer.log_own(group, same_row, model.respond)) for group in groups]
        await asyncio.sleep(0)
        writer.start()
        found = await asyncio.gather(*calls, return_exceptions=True)
        await writer.close()
        return found

    sent, at_once = asyncio.run(send(before, rows, rows))
    assert [before.repeat(one) for one in at_once] == list(sent), "also within a commit"
    other = IdentifiedRow([9.5, *rows[0][1:]], "p0")
    again, in_use = asyncio.run(send(now, rows, [other]))
    assert [now.repeat(one) for one in again] == list(sent)
    assert isinstance(in_use, IdInUse)
    with database.reading() as connection:
        found = find_predictions(connection, [row.prediction_id for row in rows])
        assert all(same_row(found[row.prediction_id], now.unanswered(row)) for row in rows)
        layouts = set(connection.execute(select(predictions.c.layout)).scalars())
    assert (layouts == {None}) is (first == "by name")


def test_processes_that_store_a_layout_at_once_agree(database_url: str, database: Database) -> None:
    together = Barrier(6)

    def store(_number: int) -> int | None:
        own = Database(database_url, timeout_seconds=20)
        try:
            together.wait()
            return LayoutStore(own).id_of(LAYOUT)
        finally:
            own.dispose()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(store, range(6))) == {LAYOUT.id}
    with database.reading() as connection:
        (stored,) = connection.execute(select(row_layouts)).all()
    assert (stored.model_version, orjson.loads(stored.features)) == ("v1", ["größe", "b"])


def test_names_belong_to_one_layout_only() -> None:
    others = [("v2", "ab", "c"), ("v1", "ba", "c"), ("v1", "a", "bc"), ("v1", "ab", "d"), ("v1", ["ab"], "c")]
    layouts = [RowLayout.of(*content) for content in (("v1", "ab", "c"), *others)]
    assert len({one.id for one in layouts}) == len(layouts)
    assert all(0 <= one.id < 2**31 for one in layouts)


def test_where_the_id_of_a_layout_is_taken_rows_are_logged_by_name(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(insert(row_layouts).values(id=LAYOUT.id, model_version="v9", features='["z"]', classes="[]"))
    assert LayoutStore(database).id_of(LAYOUT) is None
    with database.reading() as connection:
        assert connection.execute(select(row_layouts.c.model_version)).scalars().all() == ["v9"]


def test_rows_whose_names_are_lost_are_not_read_as_others_and_come_back(database: ClockedDatabase) -> None:
    store = LayoutStore(database)
    log(database, [PredictionRecord("p", 0, "", "[1.5,null]", "yes", "[0.7,0.3]", 1, store.id_of(LAYOUT))])
    with database.writing() as connection:
        connection.execute(delete(row_layouts))
    with pytest.raises(LogUnavailable, match=f"has lost the names of its rows with the layout {LAYOUT.id}; start the"):
        read_predictions(database, NOON, NOON + HOUR, None, 10)
    if database.is_sqlite:
        store = LayoutStore(database)
    else:  # what was lost on PostgreSQL was lost with the connections to it
        database.engine.dispose()
        with database.reading():
            pass
    assert store.id_of(LAYOUT) == LAYOUT.id
    (row,) = read_predictions(database, NOON, NOON + HOUR, "v1", 10).rows
    assert (row.features, row.probabilities) == ({"größe": 1.5, "b": None}, {"yes": 0.7, "no": 0.3})


def test_a_process_that_runs_on_gives_rows_a_layout_once_it_may(database_url: str) -> None:
    world = WorldClock()
    database = JumpyDatabase(database_url, world)
    database.migrate()
    with database.writing() as connection:
        connection.execute(update(log_identity).values(layouts_from=microseconds(NOON + HOUR)))
    store = LayoutStore(database)
    assert store.id_of(LAYOUT) is None
    world.time += HOUR - timedelta(seconds=1)
    assert store.id_of(LAYOUT) is None
    world.time += timedelta(seconds=1)
    assert store.id_of(LAYOUT) == LAYOUT.id
    database.dispose()


def test_while_the_log_cannot_store_a_layout_rows_are_made_by_name(tmp_path: Path) -> None:
    world = WorldClock()
    database = JumpyDatabase(f"sqlite:///{tmp_path}/log.db", world)
    store = LayoutStore(database)
    assert store.id_of(LAYOUT) is None, "it has no tables yet"
    database.migrate()
    assert store.id_of(LAYOUT) is None, "it is not asked for every row"
    world.time += timedelta(seconds=1)
    assert store.id_of(LAYOUT) == LAYOUT.id
    database.dispose()
