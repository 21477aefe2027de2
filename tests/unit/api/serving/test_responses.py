"""How rows are answered: many requests in one call of the model, and JSON that says what is logged."""

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.errors import UnknownClass
from api.prediction_log.database import Database
from api.prediction_log.records import PredictionRecord
from api.prediction_log.writer import LogWriter
from api.serving.responses import label_texts, responses_for
from model.artifact.manifest import ClassifierManifest
from model.artifact.store import MANIFEST_FILE, read_manifest
from model.errors import PredictionError
from model.serving.predictor import load_predictor
from tests.logging_rows import as_they_are

FLOWERS = [[5.0 + number / 50, 3.0, 1.0 + number / 20, 0.2] for number in range(64)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def unconverted(iris_artifact: Path, tmp_path: Path) -> Path:
    """An artifact whose model scikit-learn serves."""
    folder = tmp_path / "model"
    shutil.copytree(iris_artifact, folder)
    manifest = ClassifierManifest.model_validate(read_manifest(folder).model_dump() | {"engine": "scikit-learn"})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder


def test_a_response_matches_what_is_logged(iris_artifact: Path) -> None:
    answers = responses_for(load_predictor(iris_artifact))
    records, sent = answers.respond([[5.1, 3.5, 1.4, 0.2], [7.2, 3.2, 6.0, None]])
    for record, text in zip(records, map(orjson.loads, sent), strict=True):
        assert list(text) == ["prediction_id", "prediction", "probabilities", "model_version"]
        assert text["prediction_id"] == record.prediction_id
        assert text["prediction"] == record.prediction
        assert text["probabilities"] == orjson.loads(record.probabilities)
        assert text["model_version"] == record.model_version == answers.manifest.version
        assert 0 <= record.sample_key < 2**31
    assert orjson.loads(records[1].features)["petal_width"] is None
    assert records[0].prediction_id < records[1].prediction_id


def test_requests_that_arrive_while_the_model_predicts_share_the_next_call(
    unconverted: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_predictor(unconverted)
    pipeline = predictor._classifier._pipeline  # type: ignore[attr-defined]
    calls: list[int] = []
    all_wait = threading.Event()
    predict_proba = pipeline.predict_proba

    def counted(frame: Any) -> Any:
        calls.append(len(frame))
        assert all_wait.wait(20)
        return predict_proba(frame)

    monkeypatch.setattr(pipeline, "predict_proba", counted)

    async def ask() -> list[Sequence[bytes]]:
        queue = [0]
        writer = LogWriter(database, 1000, observe_queue=queue.append, respond=responses_for(predictor).respond)
        writer.start()
        first = asyncio.create_task(writer.log_responses(FLOWERS[:1]))
        while not calls:  # noqa: ASYNC110 - the call is made on another thread, which knows no event of this loop
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(writer.log_responses([flower])) for flower in FLOWERS[1:]]
        while queue[-1] < len(others):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        all_wait.set()
        answered = await asyncio.gather(first, *others)
        await writer.close()
        return answered

    answered = asyncio.run(ask())
    assert calls == [1, 63]
    alone = [orjson.loads(text) for text in responses_for(predictor).respond(FLOWERS)[1]]
    together = [orjson.loads(texts[0]) for texts in answered]
    assert [one["probabilities"] for one in together] == [one["probabilities"] for one in alone]


def test_a_row_that_the_model_refuses_fails_no_other_request(iris_artifact: Path, database: Database) -> None:
    async def ask() -> list[Any]:
        writer = LogWriter(database, 1000, respond=responses_for(load_predictor(iris_artifact)).respond)
        waiting = [asyncio.create_task(writer.log_responses(rows)) for rows in ([FLOWERS[0]], [[1.0]], FLOWERS[1:4])]
        await asyncio.sleep(0)
        writer.start()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        await writer.close()
        return found

    good, bad, others = asyncio.run(ask())
    assert isinstance(bad, PredictionError)
    assert (len(good), len(others)) == (1, 3)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one() == 4


@pytest.mark.parametrize("rows", [1, 3, 64, 65, 127, 1000])
def test_every_row_of_a_group_is_logged_whatever_its_size(database_url: str, rows: int) -> None:
    database = Database(database_url)
    database.migrate()
    records = [
        PredictionRecord(f"id-{number:04}", number, "v1", f'{{"x":{number}}}', "a%s?", '{"a%s?":1.0}')
        for number in range(rows)
    ]

    async def write() -> None:
        writer = LogWriter(database, 10_000, respond=as_they_are)
        writer.start()
        await writer.log_responses(records)
        await writer.close()

    asyncio.run(write())
    with database.reading() as connection:
        columns = "id, sample_key, model_version, features, prediction, probabilities, model_id, layout"
        query = f"SELECT {columns} FROM predictions ORDER BY id"  # noqa: S608 - our own names
        assert [tuple(row) for row in connection.exec_driver_sql(query)] == records
        assert connection.exec_driver_sql("SELECT count(DISTINCT logged_at) FROM predictions").scalar_one() == 1
    database.dispose()


def test_a_whole_number_with_a_point_is_a_class_that_is_a_number(iris_artifact: Path) -> None:
    manifest = read_manifest(iris_artifact).model_copy(update={"classes": (0, 1)})
    assert label_texts([0, 1.0], manifest) == ["0", "1"]
    for wrong in (1.5, 2.0, float("inf"), "one"):
        with pytest.raises(UnknownClass, match="is none of the classes 0, 1"):
            label_texts([wrong], manifest)
