"""What is left of the log when its API is killed or stopped under load."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import BATCH_ROWS, NOBODY, logged_rows, traffic

KILLS = 20


@pytest.fixture
def api(iris_artifact: Path, tmp_path: Path, database_url: str) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=database_url, VIGIE_SNAPSHOTS="false")
    process.start()
    yield process
    if not process.ended():
        process.stop(SIGKILL)


def test_twenty_kills_under_load_lose_no_acknowledged_prediction_and_double_none(
    api: ApiProcess,
) -> None:
    with traffic(api.url, callers=8) as calls:
        for kill in range(KILLS):
            calls.await_acknowledged(len(calls.acknowledged) + 20 + 7 * kill)
            api.stop(SIGKILL)
            api.start()
        calls.await_acknowledged(len(calls.acknowledged) + 20)
    rows = logged_rows(api.database_url)
    ids = [key for key, _ in rows]
    assert len(ids) == len(set(ids))
    assert len(calls.acknowledged) == len(set(calls.acknowledged))
    assert set(calls.acknowledged) <= set(ids)
    rows_of_a_call = Counter(json.loads(features)["sepal_length"] for _, features in rows)
    assert set(rows_of_a_call.values()) == {1, BATCH_ROWS}, "of a batch, all rows are logged or none"


def test_an_api_asked_to_stop_answers_what_it_accepted_and_logs_nothing_else(api: ApiProcess) -> None:
    with traffic(api.url, callers=16) as calls:
        calls.await_acknowledged(200)
        assert api.stop(SIGTERM) == 0
    assert set(calls.statuses) == {200}
    assert sorted(key for key, _ in logged_rows(api.database_url)) == sorted(calls.acknowledged)
