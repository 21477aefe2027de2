"""The demo's models beside that of its story, of which one is served by a program elsewhere."""

import asyncio
import csv
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.settings import Settings
from scripts.demo.__main__ import _config, _others, _parse
from scripts.demo.others import PREDICTION, OtherModel, OtherOutcome, send_steady
from scripts.demo.phases import FailedCheck, SnapshotWindow
from tests.artifacts import made_artifact
from tests.in_process import serving

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DRIFT = FailedCheck(check="data_drift", column="bmi", value=0.5, threshold=0.3)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def window(start: float, *failed: FailedCheck, rows: int = 50, status: str = "posted") -> SnapshotWindow:
    return SnapshotWindow.model_validate(
        {
            "start": at(start),
            "end": at(start + 10),
            "rows": rows,
            "labelled_rows": rows,
            "status": status,
            "reason": None,
            "failed_checks": failed,
            "report_url": None,
            "evidently_url": None,
        }
    )


def outcome(*windows: SnapshotWindow, rows: int) -> OtherOutcome:
    seen = {one.start: one for one in windows}
    model = OtherModel("diabetes", Path("diabetes"), is_watched=True)
    return OtherOutcome(model, rows, span=(at(-1), at(41)), windows=seen)


def test_steady_traffic_whose_windows_have_all_rows_is_as_expected() -> None:
    windows = [window(start) for start in (-10, 0, 10, 20, 30, 40)]
    assert outcome(*windows, rows=300).differences(10) == []
    assert outcome(*windows[:-1], window(40, DRIFT), rows=300).differences(10) == [], (
        "chance fails a window in a hundred"
    )


@pytest.mark.parametrize(
    ("windows", "rows", "message"),
    [
        ([window(0), window(10)], 101, "diabetes: 101 rows were accepted, but its windows have 100"),
        ([window(0), window(10, status="skipped")], 100, "diabetes: window 12:00:10 is skipped: no reason given"),
        ([], 0, "diabetes: no window has its traffic"),
        (
            [window(0, DRIFT), window(10, DRIFT), window(20)],
            150,
            "2 of 3 windows of steady traffic failed checks: 12:00:00 data_drift; 12:00:10 data_drift",
        ),
    ],
)
def test_what_steady_traffic_should_not_do_is_named(windows: list[SnapshotWindow], rows: int, message: str) -> None:
    (line,) = outcome(*windows, rows=rows).differences(10)
    assert message in line


def test_it_is_settled_once_every_window_with_its_traffic_is() -> None:
    windows = [window(start) for start in (-10, 0, 10, 20, 30, 40)]
    assert outcome(*windows, rows=300).is_settled(10)
    assert not outcome(*windows[:-1], rows=300).is_settled(10)
    assert not outcome(*windows[:-1], window(40, status="running"), rows=300).is_settled(10)


def test_of_three_models_the_last_is_only_watched(tmp_path: Path) -> None:
    options = _parse(["--models", "3", "--data-dir", str(tmp_path)], "demo")
    assert [(one.name, one.is_watched) for one in _others(options)] == [("wine", False), ("diabetes", True)]
    modules = [command[2] for command in _config(options, tmp_path).train_commands()]
    assert modules == ["model.train", "model.train", "model.watch"]
    assert _others(_parse([], "demo")) == []


def test_what_the_program_elsewhere_predicts_is_logged_under_its_own_ids(
    iris_artifact: Path, artifacts_kept_in: Path, tmp_path: Path
) -> None:
    model = OtherModel("diabetes", tmp_path / "models" / "diabetes", is_watched=True)
    model.prepare()
    with model.reference.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 250
    assert {PREDICTION, "progression", "bmi"} <= rows[0].keys()
    (command,) = model.commands()
    made = made_artifact(artifacts_kept_in, command[2], "watched-diabetes", *command[3:-2])
    shutil.copytree(made, model.folder)
    assert model.commands() == [], "it is there, and is made once"
    shutil.copytree(iris_artifact, tmp_path / "models" / "iris")
    settings = Settings(
        models_dir=tmp_path / "models",
        database_url=f"sqlite:///{tmp_path}/log.db",
        reports_dir=tmp_path,
        snapshots=False,
    )
    with serving(create_app(settings)) as port:
        url = f"http://127.0.0.1:{port}"
        sent = asyncio.run(send_steady(model, url, seconds=1, seed=0))
        page = httpx.get(url, trust_env=False).text
    assert (sent.rows, sent.errors) == (5, [])
    assert "all of them serve, 1 of them elsewhere" in page
    assert page.count("served elsewhere, test mean absolute error") == 1, "the start page says which is only watched"


def test_a_program_elsewhere_that_reaches_nothing_is_said(tmp_path: Path) -> None:
    model = OtherModel("wine", tmp_path)
    sent = asyncio.run(send_steady(model, "http://127.0.0.1:9", seconds=1, seed=0))
    assert "cannot reach the API" in sent.errors[0]
