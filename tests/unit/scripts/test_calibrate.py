"""The alarms set from the log's own windows: shown, taken up, listed, taken back."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.prediction_log.alarms import AlarmLog
from api.prediction_log.database import Database
from api.settings import Settings
from api.wiring import build_service_alarms
from model.alarms.window_checks import Failure, JudgedWindow
from model.artifact.store import read_manifest
from model.artifact.traffic import TrafficThreshold
from scripts.calibrate import Judged, main, windows_beyond
from tests.clocked import NOON, ClockedDatabase
from tests.measured import post_hours

DAYS = 10
STRETCH = ["--from", NOON.isoformat(), "--to", (NOON + timedelta(days=DAYS)).isoformat()]


@pytest.fixture
def database(iris_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("VIGIE_DATABASE_URL", url)
    monkeypatch.setenv("VIGIE_MODEL_DIR", str(iris_artifact))
    monkeypatch.setenv("COLUMNS", "200")
    database = ClockedDatabase(url)
    database.migrate()
    post_hours(database, read_manifest(iris_artifact), NOON, DAYS * 24)
    yield database
    database.dispose()


def thresholds(database: Database) -> list[tuple[float, ...]]:
    settings = Settings()
    manifest, _ = build_service_alarms(settings, database).current(read_manifest(settings.model_dir))
    return [] if manifest.traffic is None else [one.thresholds for one in manifest.traffic.thresholds]


def test_a_dry_run_shows_what_would_have_happened_and_changes_nothing(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*STRETCH, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "by its rows" in said
    assert "data_drift" in said
    assert "From 240 windows in 10.0 days: in 30 days without a change" in said
    assert "Nothing was changed" in said
    drift = next(line for line in said.splitlines() if line.startswith("│ data_drift ") and line.count("│") == 4)
    now, new = (int(cell) for cell in drift.split("│")[2:4])
    assert now > 120  # most hours drift from rows drawn at random
    assert new <= 2
    assert thresholds(database) == []


def test_windows_beyond_a_threshold_are_those_of_its_own_statistic() -> None:
    missing = Failure("data_quality", "x", 0.4, 0.1, statistic="missing_share")
    lasting = Failure("data_quality", "x", 0.4, 0.1, "mean of 7 days")
    window = JudgedWindow(NOON, NOON + timedelta(hours=1), 100, {}, (missing, lasting))
    judged = Judged([window, window._replace(failures=())], 0.0)
    for name, column, expected in (("missing_share", "x", 1), ("stuck_share", "x", 0), ("missing_share", "z", 0)):
        one = TrafficThreshold(
            name=name,
            column=column,
            above=True,
            interval_seconds=3_600,
            cycle="none",
            usual=(0.0,),
            thresholds=(0.1,),
            blocks=10,
            windows=240,
        )
        assert windows_beyond(one, judged) == expected


def test_alarms_are_taken_up_listed_and_taken_back(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(STRETCH) == 0
    first = thresholds(database)
    assert first
    assert main([*STRETCH, "--false-alerts-a-month", "20"]) == 0
    assert thresholds(database) != first
    assert main(["--undo"]) == 0
    assert thresholds(database) == first
    assert main(["--undo"]) == 0
    assert thresholds(database) == []
    capsys.readouterr()
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("calibrated") == 2
    assert listed.count("undone") == 2
    assert main(["--undo"]) == 2
    assert "no alarms for version" in capsys.readouterr().err


def test_what_was_learned_can_be_thrown_away(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(STRETCH) == 0
    assert main(["--learn-again"]) == 0
    assert "are forgotten" in capsys.readouterr().out
    assert thresholds(database) == []
    assert AlarmLog(database).undo(read_manifest(Settings().model_dir).version) is None


def test_a_stretch_without_windows_says_where_there_are_some(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", "2020-01-01", "--to", "2020-02-01"]) == 2
    assert f"the log has them from {NOON:%Y-%m-%d %H:%M}" in capsys.readouterr().err


def test_a_short_stretch_is_taken_with_a_warning(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", NOON.isoformat(), "--to", (NOON + timedelta(days=1)).isoformat(), "--dry-run"]) == 0
    assert "less than a week" in capsys.readouterr().out
    assert main(["--from", NOON.isoformat(), "--to", (NOON + timedelta(hours=3)).isoformat(), "--dry-run"]) == 2
    assert "are too few" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--from", "2026-11-01"],
        ["--undo", "--list"],
        ["--from", "2026-11-02", "--to", "2026-11-01"],
        ["--undo", "--dry-run"],
        ["--learn-again", "--dry-run"],
    ],
)
def test_options_that_do_not_fit_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(options)
