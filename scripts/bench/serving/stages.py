"""The CPU time of each stage of a request, measured in this process, without sockets or a second program."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from api.prediction_log.database import Database
from api.prediction_log.inserts import insert_predictions
from api.prediction_log.layouts import LayoutStore
from api.serving.responses import responses_for
from api.serving.schemas import row_type
from model.serving.predictor import load_predictor
from scripts.bench.serving.measuring import Row

GROUPS = (1, 32, 1000)
REPEATS = 7
STAGES = (
    "read and validate the body",
    "predict (ONNX Runtime)",
    "make ids, records and the answer's JSON",
    "insert and commit (SQLite)",
)

Stages = dict[int, tuple[float, ...]]


def measure_stages(model_dir: Path, folder: Path, rows: Sequence[Row]) -> Stages:
    """Return the seconds of processor time a row takes in each of `STAGES`, by how many rows share a group."""
    predictor = load_predictor(model_dir)
    database = Database(f"sqlite:///{folder / 'stages.db'}")
    database.migrate()
    answers = responses_for(predictor, layout_id=LayoutStore(database).id_of)
    kind = row_type(predictor.manifest)
    body = orjson.dumps(rows[0])

    def validate() -> Any:
        return kind.__pydantic_validator__.validate_json(body).cells()

    found: Stages = {}
    for size in GROUPS:
        cells = [validate()] * size
        calls = max(3, 200 // size)

        def commit(cells: Sequence[Any] = cells) -> None:
            # ids must be new each time, so the time to make the records is subtracted below
            with database.driving() as connection:
                insert_predictions(connection, database.stamps(connection), answers.respond(cells)[0])

        read = _seconds(validate, 500)
        predict = _seconds(lambda cells=cells: predictor.predict(cells), calls) / size  # type: ignore[misc] # its default
        make = _seconds(lambda cells=cells: answers.respond(cells), calls) / size  # type: ignore[misc] # as above
        found[size] = (read, predict, make - predict, _seconds(commit, calls) / size - make)
    database.dispose()
    return found


def _seconds(work: Callable[[], object], calls: int) -> float:
    """Return the processor time of one call of the least disturbed of several repeats."""
    found = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(calls):
            work()
        found.append((time.process_time() - began) / calls)
    return min(found)
