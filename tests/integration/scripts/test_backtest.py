"""A backtest of a log says of each window what the snapshot of the same window says."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, update

from api.prediction_log.alarms import AlarmAction, AlarmLog
from api.prediction_log.database import Database, microseconds
from api.prediction_log.tables import labels, predictions
from api.settings import Settings
from api.wiring import build_database, build_evaluator
from model.alarms.window_checks import CHECK_OF
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Manifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import TrafficAlarms, TrafficThreshold
from model.data.encoding import json_rows, rows_of
from model.serving.engines import with_predictions
from model.serving.predictor import load_predictor
from model.statistics.segments import metadata_columns
from scripts.backtest import main

START = datetime(2026, 11, 23, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIZES = (60, 60, 60, 160, 20)
"""Rows of each hour: enough, shifted, with missing values, more than are measured, too few."""
MAX_ROWS = 100


def pool(artifact: Path, rows: int, seed: int) -> pd.DataFrame:
    known = pd.concat([read_test(artifact), read_reference(artifact)], ignore_index=True)
    return known.sample(rows, replace=True, random_state=seed).reset_index(drop=True)


def log_hours(database: Database, artifact: Path) -> None:
    """Log the hours as the API does. Labels arrive an hour later, for three of four rows; the first hour has none."""
    manifest, predictor = read_manifest(artifact), load_predictor(artifact)
    names = manifest.class_names if isinstance(manifest, ClassifierManifest) else None
    number = manifest.features[0].name
    for hour, size in enumerate(SIZES):
        frame = pool(artifact, size, hour)
        if hour == 1:
            frame[number] += 2 * frame[number].std()
        if hour == 2:
            frame.loc[:29, number] = None
        answers = predictor.predict(rows_of(frame, manifest.features))
        frame = with_predictions(frame, answers, names)
        features = json_rows(frame, manifest.features)
        for name, column in metadata_columns(manifest).items():
            features = [{**row, name: value} for row, value in zip(features, frame[column], strict=True)]
        logged, arrived = [], []
        for place, row in enumerate(frame.to_dict("records")):
            key, at = f"{hour}-{place}", START + hour * HOUR + place * timedelta(seconds=20)
            chances = {name: row[f"{PROBABILITY_PREFIX}{name}"] for name in names or ()}
            logged.append(
                {
                    "id": key,
                    "logged_at": microseconds(at),
                    "sample_key": (place * 7_919 % size) * (2**31 // size),
                    "model_version": manifest.version,
                    "features": json.dumps(features[place]),
                    "prediction": str(row[PREDICTION]),
                    "probabilities": json.dumps(chances),
                }
            )
            label = frame[LABEL].iloc[(place * 13) % size] if hour == 3 else row[LABEL]
            if place % 4:
                arrived.append({"prediction_id": key, "label": str(label), "arrived_at": microseconds(at + HOUR)})
        with database.writing() as connection:
            connection.execute(insert(predictions), logged)
            connection.execute(insert(labels), arrived)


@pytest.fixture(params=["iris_artifact", "diabetes_artifact", "divided_artifact"])
def settings(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    variables = {
        "DATABASE_URL": database_url,
        "MODEL_DIR": str(request.getfixturevalue(request.param)),
        "REPORTS_DIR": str(tmp_path / "reports"),
        "SNAPSHOT_INTERVAL_SECONDS": "3600",
        "SNAPSHOT_MAX_ROWS": str(MAX_ROWS),
        "SNAPSHOT_MIN_LABELS": "40",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"VIGIE_{name}", value)
    return Settings()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = build_database(settings)
    database.migrate()
    log_hours(database, settings.model_dir)
    yield database
    database.dispose()


def let_drift(database: Database, manifest: Manifest) -> None:
    """Let the alarms that hold in the log allow any drift of the first column, and any score of one segment."""
    common: dict[str, Any] = {"interval_seconds": 3_600, "cycle": "none", "usual": (1.0,), "blocks": 30, "windows": 720}
    free = (
        TrafficThreshold(name="data_drift", column=manifest.features[0].name, above=True, thresholds=(1e6,), **common),
        TrafficThreshold(name="segment_accuracy", column="colour=red", above=False, thresholds=(0.0,), **common),
    )
    alarms = TrafficAlarms(time_zone="UTC", days=30, false_alarm_days=90, thresholds=free)
    AlarmLog(database).add(manifest.version, AlarmAction.CALIBRATED, alarms.model_dump_json())


def backtest(tmp_path: Path, *options: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    assert main(["--from", "2026-11-23", "--to", "2026-11-24", "--json", str(out), *options]) == 0
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_each_window_of_the_log_is_judged_as_its_snapshot_judges_it(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    manifest = read_manifest(settings.model_dir)
    let_drift(database, manifest)
    found_in_all = backtest(tmp_path)
    assert found_in_all["summary"]["alarms_version"] is not None
    windows = found_in_all["windows"]
    hours = [round((datetime.fromisoformat(one["start"]) - START) / HOUR) for one in windows]
    assert hours == [0, 1, 2, 3, 4]  # in the last, labels alone are enough
    evaluator = build_evaluator(settings, database)
    failures = 0
    for window in windows:
        start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
        snapshot = evaluator.evaluate(start, end).snapshot
        assert snapshot is not None
        theirs = {(one.name, one.column): one.value for one in snapshot.values}
        ours = {(one["name"], one["column"]): one["value"] for one in window["values"]}
        assert ours == {key: pytest.approx(theirs[key], rel=1e-4, abs=1e-6) for key in ours}
        concept = {
            "concept_z",
            "concept_size_z",
            "concept_bias_z",
        }  # of numbers a snapshot adds the larger z of the two
        judged = {name for name, check in CHECK_OF.items() if check != "attribution_drift"} - concept
        assert {key for key in theirs if key[0] in judged} <= set(ours)
        failed = {
            (one.check, one.column): one.threshold for one in snapshot.failed_checks if one.check != "attribution_drift"
        }
        found = {(one["check"], one["column"]): one["threshold"] for one in window["failed_checks"]}
        assert found == {key: pytest.approx(threshold, rel=1e-4) for key, threshold in failed.items()}
        failures += len(found)
    assert failures >= 3
    failed = {(one["check"], one["column"]) for window in windows for one in window["failed_checks"]}
    assert ("data_quality", manifest.features[0].name) in failed
    assert ("data_drift", manifest.features[0].name) not in failed
    values = {(one["name"], one["column"]) for window in windows for one in window["values"]}
    if manifest.segments:
        assert {("segment_accuracy", "shop=north"), ("segment_drift", "colour=red")} <= values
        assert ("performance", "shop=north") in failed
        assert ("performance", "colour=red") not in failed  # its own threshold allows all
    else:
        assert not any(name.startswith("segment_") for name, _ in values)


def test_rows_of_another_version_are_predicted_again_and_that_is_said(
    settings: Settings, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_logged = backtest(tmp_path)
    assert as_logged["summary"]["predicted_again"] == 0
    other = {
        "model_version": "older",
        "prediction": "nothing that this model knows",
        "probabilities": "{}",
    }
    with database.writing() as connection:
        connection.execute(update(predictions).where(predictions.c.id.like("0-%")).values(**other))
    again = backtest(tmp_path)
    assert again["summary"]["predicted_again"] == 60 + 45
    assert "105 rows and labelled rows of other versions of the model were predicted again" in capsys.readouterr().out
    assert [window["failed_checks"] for window in again["windows"]] == [
        [{**one, "value": pytest.approx(one["value"], rel=1e-4)} for one in window["failed_checks"]]
        for window in as_logged["windows"]
    ]


def test_a_span_without_rows_says_what_the_log_holds(
    settings: Settings, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    del settings, database
    assert main(["--from", "2026-11-20", "--to", "2026-11-21"]) == 2
    said = capsys.readouterr().err
    assert "the log has no rows from 2026-11-20 00:00 UTC to 2026-11-21 00:00 UTC" in said
    assert "the log holds rows from 2026-11-23 06:00 UTC to 2026-11-23 1" in said
