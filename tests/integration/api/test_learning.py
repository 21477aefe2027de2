"""A service whose alarms learn: a real API and its worker, on a log that has a week of windows."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from api.prediction_log.database import Database
from model.artifact.store import read_manifest
from model.train import main as train
from model.watch import main as watch
from tests.integration.api.conftest import ApiProcess, Caller
from tests.measured import post_hours
from tests.watched import PROBABILITIES, csv_of, loans, logged

HOURS = 8 * 24


@pytest.fixture
def learning(tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    artifact = tmp_path / "model"
    assert train(["--alarms", "learn", "--estimator", "logistic_regression", "--out", str(artifact)]) == 0
    yield from _with_a_week(tmp_path, artifact, ui_port)


@pytest.fixture
def watching(tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    """A service that watches a model, learns its alarms, and has a week of windows in its log."""
    reference, artifact = tmp_path / "loans.csv", tmp_path / "model"
    left_out = {"loan", "at"}
    rows = [{name: value for name, value in row.items() if name not in left_out} for row in loans(600)]
    reference.write_text(csv_of(rows), encoding="utf-8")
    options = ["--reference", str(reference), "--prediction", "decision", *PROBABILITIES, "--target", "defaulted"]
    assert watch([*options, "--name", "loans", "--out", str(artifact)]) == 0
    yield from _with_a_week(tmp_path, artifact, ui_port)


def _with_a_week(tmp_path: Path, artifact: Path, ui_port: int) -> Iterator[ApiProcess]:
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


def test_a_watched_model_learns_and_is_calibrated_from_its_log(watching: ApiProcess, pool: pd.DataFrame) -> None:
    caller = Caller(watching.url, pool)

    def window(seed: int, poorer: float = 0.0) -> dict[str, Any]:
        rows = [logged(row, label=True) for row in loans(100, seed, poorer=poorer)]
        caller.http.post("/models/loans/log", json={"predictions": rows}).raise_for_status()
        return caller.snapshot()

    def drifted(found: dict[str, Any]) -> set[str]:
        return {check["column"] for check in found["failed_checks"] if check["check"] == "data_drift"}

    with closing(caller.http):
        state = caller.http.get("/snapshots").json()["alarms"]
        assert (state["kind"], state["version"], state["learned_days"]) == ("learn", None, 8.0)
        first = window(seed=1)
        assert (first["failed_checks"], first["alarms_version"]) == ([], None)
        learned = window(seed=2, poorer=3_000)
        assert (learned["alarms_version"], "income" in drifted(learned)) == (1, True)
        # what the log holds of the watched model sets its alarms anew, without a restart
        start, end = (datetime.now(UTC) - timedelta(days=9)).isoformat(), first["start"]
        said = watching.command("scripts.calibrate", "--from", start, "--to", end, "--false-alerts-a-month", "20")
        assert "windows in 8.0 days" in " ".join(said.split())
        calibrated = window(seed=3, poorer=3_000)
        assert (calibrated["alarms_version"], "income" in drifted(calibrated)) == (2, True)
        assert drifted(window(seed=4)) == set()
        watching.command("scripts.calibrate", "--undo")
        undone = window(seed=5, poorer=3_000)
    assert (undone["alarms_version"], "income" in drifted(undone)) == (3, True)
    listed = watching.command("scripts.calibrate", "--list")
    assert [word in listed for word in ("learned", "calibrated", "undone")] == [True, True, True]
