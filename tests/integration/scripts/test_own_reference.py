"""Traffic that has moved for good becomes the reference: taken up, shown, taken back, and freed of erased rows."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import delete, insert, select, update

from api.prediction_log.alarms import AlarmAction, AlarmLog, AlarmVersion
from api.prediction_log.database import Database, microseconds
from api.prediction_log.erasure import erase, erase_mentions
from api.prediction_log.own_references import OwnReferences
from api.prediction_log.reader import read_with_labels
from api.prediction_log.tables import alarm_versions, labels, own_references, predictions, windows
from api.settings import Settings
from api.snapshots.measure import WindowEvaluation, WindowEvaluator
from api.wiring import build_database, build_evaluator, build_service_alarms
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Manifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import TrafficAlarms
from model.data.encoding import json_rows, rows_of
from model.serving.engines import with_predictions
from model.serving.predictor import load_predictor
from scripts.backtest import main as backtest
from scripts.calibrate import main
from tests.clocked import NOON
from tests.measured import HOUR, post_hours

HOURS, ROWS = 48, 40
STRETCH = ["--from", NOON.isoformat(), "--to", (NOON + HOURS * HOUR).isoformat()]
NEXT = NOON + HOURS * HOUR
MOVED = 2.5
"""Standard deviations by which a column has moved for good."""


def moved_column(manifest: Manifest) -> str:
    return next(feature.name for feature in manifest.features if feature.type == "number")


def log_moved(database: Database, artifact: Path) -> None:
    """Log hours of rows of which a column has moved for good; one of five never gets a label."""
    manifest = read_manifest(artifact)
    known = pd.concat([read_test(artifact), read_reference(artifact)], ignore_index=True)
    frame = known.sample((HOURS + 1) * ROWS, replace=True, random_state=0).reset_index(drop=True)
    column = moved_column(manifest)
    frame[column] += MOVED * known[column].std()
    names = manifest.class_names if isinstance(manifest, ClassifierManifest) else ()
    if not manifest.is_watched:
        answers = load_predictor(artifact).predict(rows_of(frame, manifest.features))
        frame = with_predictions(frame, answers, names or None)
    features = json_rows(frame, manifest.features)
    keys = np.random.default_rng(1).integers(2**31, size=len(frame))
    logged, arrived = [], []
    for place, row in enumerate(frame.to_dict("records")):
        at = microseconds(NOON + place // ROWS * HOUR + place % ROWS * timedelta(minutes=1))
        chances = {name: row[f"{PROBABILITY_PREFIX}{name}"] for name in names}
        logged.append(
            {
                "id": f"row-{place}",
                "logged_at": at,
                "sample_key": int(keys[place]),
                "model_version": manifest.version,
                "features": json.dumps(features[place]),
                "prediction": str(row[PREDICTION]),
                "probabilities": json.dumps(chances),
            }
        )
        if place % 5:
            arrived.append({"prediction_id": f"row-{place}", "label": str(row[LABEL]), "arrived_at": at})
    with database.writing() as connection:
        connection.execute(insert(predictions), logged)
        connection.execute(insert(labels), arrived)


def use(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/log.db",
        "MODEL_DIR": str(artifact),
        "REPORTS_DIR": str(tmp_path / "reports"),
        "SNAPSHOT_INTERVAL_SECONDS": "3600",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"VIGIE_{name}", value)
    monkeypatch.setenv("COLUMNS", "250")
    return Settings()


def filled(settings: Settings) -> Database:
    database = build_database(settings)
    database.migrate()
    log_moved(database, settings.model_dir)
    post_hours(database, read_manifest(settings.model_dir), NOON, HOURS)
    return database


@pytest.fixture(params=["iris", "diabetes", "watched"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if request.param == "watched":
        watched: Callable[[str], Path] = request.getfixturevalue("watched_artifact")
        return use(watched("classes"), tmp_path, monkeypatch)
    return use(request.getfixturevalue(f"{request.param}_artifact"), tmp_path, monkeypatch)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = filled(settings)
    yield database
    database.dispose()


@pytest.fixture
def iris(iris_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    database = filled(use(iris_artifact, tmp_path, monkeypatch))
    yield database
    database.dispose()


def draw(database: Database) -> AlarmVersion:
    """Let rows of the stretch be the reference, with the thresholds of the artifact."""
    manifest = read_manifest(Settings().model_dir)
    rows = read_with_labels(database, NOON, NEXT, manifest.version, 500).rows
    limits = json.dumps([one.model_dump() for one in manifest.thresholds])
    alarms = TrafficAlarms(time_zone="UTC", days=2, false_alarm_days=6, thresholds=())
    return AlarmLog(database).add_with_reference(manifest.version, alarms.model_dump_json(), (NOON, NEXT), rows, limits)


def failed(evaluation: WindowEvaluation) -> set[tuple[str, str | None]]:
    assert evaluation.snapshot is not None
    return {(one.check, one.column) for one in evaluation.snapshot.failed_checks}


def drift(evaluation: WindowEvaluation, column: str) -> float:
    assert evaluation.snapshot is not None
    values = {(one.name, one.column): one.value for one in evaluation.snapshot.values}
    return values["data_drift", column]


def next_window(evaluator: WindowEvaluator) -> WindowEvaluation:
    return evaluator.evaluate(NEXT, NEXT + HOUR)


def test_the_next_window_is_calm_against_the_new_normal_and_loud_again_once_that_is_taken_back(
    settings: Settings, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    column = moved_column(read_manifest(settings.model_dir))
    evaluator = build_evaluator(settings, database)  # runs on all the while, as in another process
    before = next_window(evaluator)
    assert ("data_drift", column) in failed(before)

    command = [sys.executable, "-m", "scripts.calibrate", *STRETCH, "--reference"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "alarms version 1" in said
    after = next_window(evaluator)
    assert failed(after) == set()
    assert drift(after, column) < drift(before, column) / 3
    assert after.alarms_version == 1
    assert after.snapshot is not None
    assert "own rows from 2026-11-23 12:00 to 2026-11-25 12:00 UTC" in after.snapshot.html
    own = after.manifest.own_reference
    assert own is not None
    assert own.labelled_rows < own.rows == 1_000

    capsys.readouterr()
    assert main(["--undo"]) == 0
    assert "against the reference of the artifact" in capsys.readouterr().out
    assert failed(next_window(evaluator)) == failed(before)
    assert drift(next_window(evaluator), column) == drift(before, column)


def test_a_dry_run_shows_both_references_at_work_and_changes_nothing(
    iris: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*STRETCH, "--reference", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "The reference becomes 1,000 rows of the stretch" in said
    assert "Nothing was changed" in said
    drift_row = next(line for line in said.splitlines() if line.startswith("│ data_drift ") and line.count("│") == 4)
    now, new = (int(cell) for cell in drift_row.split("│")[2:4])
    assert (now, new) == (HOURS, 0)
    assert AlarmLog(iris).versions(read_manifest(Settings().model_dir).version) == []


def test_a_backtest_judges_against_the_reference_that_holds_as_snapshots_do(
    iris: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def verdicts() -> list[dict[str, Any]]:
        out = tmp_path / "out.json"
        assert backtest(["--from", STRETCH[1], "--to", (NEXT + HOUR).isoformat(), "--json", str(out)]) == 0
        found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["windows"]
        return found

    assert sum(bool(window["failed_checks"]) for window in verdicts()) == HOURS + 1
    assert main([*STRETCH, "--reference"]) == 0
    capsys.readouterr()
    judged = verdicts()
    assert "The reference is" in capsys.readouterr().out
    assert sum(bool(window["failed_checks"]) for window in judged) <= 1
    snapshot = next_window(build_evaluator(Settings(), iris)).snapshot
    assert snapshot is not None
    theirs = {(one.name, one.column): one.value for one in snapshot.values}
    ours = {(one["name"], one["column"]): one["value"] for one in judged[-1]["values"]}
    assert ours == {key: pytest.approx(theirs[key], rel=1e-4, abs=1e-6) for key in ours}


def test_what_the_log_measured_against_another_reference_is_measured_again(
    iris: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    version = read_manifest(Settings().model_dir).version
    assert main([*STRETCH, "--reference"]) == 0
    limits = [one.content for one in AlarmLog(iris).versions(version)]
    capsys.readouterr()
    assert main([*STRETCH, "--false-alerts-a-month", "20"]) == 0  # no --reference: that of version 1 stays
    newest = AlarmLog(iris).newest(version)
    assert newest is not None
    assert (newest.id, newest.reference_id) == (2, 1)
    assert newest.content not in limits
    assert failed(next_window(build_evaluator(Settings(), iris))) == set()
    with iris.writing() as connection:
        connection.execute(delete(predictions))
    assert main(STRETCH) == 2
    assert "to measure them again takes their rows; the log holds none at all" in capsys.readouterr().err
    assert main([*STRETCH, "--reference"]) == 2
    assert "the log has 0 rows of version" in capsys.readouterr().err


def test_windows_before_keep_what_they_were_judged_by_and_the_list_says_since_when(
    iris: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings()
    manifest = read_manifest(settings.model_dir)
    log, alarms = AlarmLog(iris), build_service_alarms(settings, iris)
    log.add(manifest.version, AlarmAction.CALIBRATED, None)
    with iris.writing() as connection:
        connection.execute(update(windows).values(alarms_version=1))
    assert main([*STRETCH, "--reference"]) == 0
    with iris.reading() as connection:
        assert set(connection.execute(select(windows.c.alarms_version)).scalars()) == {1}
        row = connection.execute(select(alarm_versions).where(alarm_versions.c.id == 2)).one()
    assert (row.action, row.content, row.reference_id) == ("calibrated", None, 1)  # all that older programs see
    capsys.readouterr()
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert "from 2026-11-23 12:00 to 2026-11-25 12:00" in listed
    assert listed.count("artifact") == 2
    state = alarms.state(manifest)
    assert state.reference is not None
    assert state.reference.text.startswith(f"{state.reference.rows:,} of the service's own rows")
    assert main(["--learn-again"]) == 0
    assert alarms.state(manifest).reference is None


def test_an_erased_row_leaves_the_reference_even_after_the_log_has_removed_it(iris: Database) -> None:
    draw(iris)
    evaluator = build_evaluator(Settings(), iris)
    before = next_window(evaluator).manifest.own_reference
    assert before is not None
    assert before.rows == 500
    references = OwnReferences(iris)
    first, second, *_ = [row.prediction_id for row in references.rows(1)]
    with iris.writing() as connection:
        connection.execute(delete(labels).where(labels.c.prediction_id == second))
        connection.execute(delete(predictions).where(predictions.c.id == second))  # as the log's retention does
    assert erase(iris, [first, second], by="a person") == [first]
    found = erase_mentions(iris, [first, second], by="a person", blank=lambda _report, _ids: None)
    assert found == {first, second}
    left = references.rows(1)
    assert not {first, second} & {row.prediction_id for row in left}
    about = references.find(1)
    assert about is not None
    assert about.about.rows == len(left)
    own = next_window(evaluator).manifest.own_reference
    assert own is not None
    assert own.rows == len(left) == 498  # the evaluator has read it again


def test_a_row_that_is_erased_while_the_reference_is_drawn_is_not_in_it(iris: Database) -> None:
    version = draw(iris).model_version
    rows = OwnReferences(iris).rows(1)
    assert erase(iris, [rows[0].prediction_id], by="a person")
    added = AlarmLog(iris).add_with_reference(version, "{}", (NOON, NEXT), rows, "[]")
    assert added.reference_id == 2
    assert [row.prediction_id for row in OwnReferences(iris).rows(2)] == [row.prediction_id for row in rows[1:]]


def test_a_stretch_with_too_few_rows_or_labels_is_refused(iris: Database, capsys: pytest.CaptureFixture[str]) -> None:
    version = read_manifest(Settings().model_dir).version
    with iris.writing() as connection:
        connection.execute(delete(labels))
    assert main([*STRETCH, "--reference"]) == 2
    assert "0 of the" in capsys.readouterr().err
    with iris.writing() as connection:
        connection.execute(update(predictions).values(model_version="older"))
    assert main([*STRETCH, "--reference"]) == 2
    assert f"the log has 0 rows of version {version} in that stretch" in capsys.readouterr().err
    with iris.reading() as connection:
        assert connection.execute(select(own_references.c.id)).all() == []
    with pytest.raises(SystemExit):
        main(["--reference", "--list"])


def test_alarms_whose_reference_is_gone_give_way_to_those_of_the_artifact(
    iris: Database, caplog: pytest.LogCaptureFixture
) -> None:
    draw(iris)
    manifest, alarms = read_manifest(Settings().model_dir), build_service_alarms(Settings(), iris)
    assert alarms.current(manifest)[0].own_reference is not None
    with iris.writing() as connection:
        connection.execute(delete(own_references))
    assert alarms.current(manifest) == (manifest, None)
    assert "the reference of alarms version 1 is gone" in caplog.text
