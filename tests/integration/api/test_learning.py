"""A service whose alarms learn: a real API and its worker, on a log that has a week of windows."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from api.prediction_log.database import Database
from model.artifact.store import read_manifest
from model.train import main as train
from tests.integration.api.conftest import ApiProcess, Caller
from tests.measured import post_hours

HOURS = 8 * 24


@pytest.fixture
def learning(tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    artifact = tmp_path / "model"
    assert train(["--alarms", "learn", "--estimator", "logistic_regression", "--out", str(artifact)]) == 0
    api = ApiProcess(tmp_path, artifact, ui_port)
    database = Database(api.database_url)
    database.migrate()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    post_hours(database, read_manifest(artifact), hour - timedelta(hours=HOURS), HOURS)
    database.dispose()
    api.start()
    yield api
    if not api.ended():
        api.stop()


def test_the_window_after_a_week_is_judged_by_what_the_week_was_like(learning: ApiProcess, pool: pd.DataFrame) -> None:
    caller = Caller(learning.url, pool)
    with closing(caller.http):
        state = caller.http.get("/snapshots").json()["alarms"]
        assert (state["kind"], state["version"], state["learned_days"]) == ("learn", None, 8.0)
        assert state["learning"] > 0
        assert "The alarms are learning what is usual: 8.0 of 7 days" in caller.http.get("/").text
        caller.send(100, labelled=False, shift=1.0)
        first = caller.snapshot()
        assert (first["failed_checks"], first["alarms_version"]) == ([], None)
        caller.send(100, shift=4.0, seed=1)
        second = caller.snapshot()
    assert second["alarms_version"] == 1
    drifted = {check["column"] for check in second["failed_checks"] if check["check"] == "data_drift"}
    assert drifted >= {"sepal_length", "sepal_width"}
