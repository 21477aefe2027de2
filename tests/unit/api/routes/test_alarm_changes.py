"""Mutes and thresholds over HTTP and by command: who may, what is refused, and what the next window makes of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from api.alerts.next_steps import NextSteps
from api.alerts.notifier import AlertNotifier
from api.alerts.payload import Wording
from api.alerts.rules import Quorum
from api.app import create_app
from api.metrics import Metrics
from api.prediction_log.alarm_changes import AlarmChanges, mute_of
from api.prediction_log.alarms import AlarmAction, AlarmLog
from api.prediction_log.database import Database
from api.prediction_log.tables import alarm_changes
from api.prediction_log.windows import WindowStore
from api.settings import Settings
from api.snapshots.health import SnapshotLinks
from api.wiring import build_service_alarms
from model.artifact.store import read_manifest
from scripts import mute as mute_command
from scripts import threshold as threshold_command
from tests.finished_windows import FAILED, Windows

SOON = (datetime.now(UTC) + timedelta(days=2)).isoformat()
MUTE = {"check": "data_drift", "column": "petal_length", "until": SOON, "reason": "the sensor is replaced"}
THRESHOLD = {"check": "data_drift", "column": "petal_length", "value": 0.7, "reason": "spring"}


@pytest.fixture
def database(client: TestClient, database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


def test_a_mute_is_listed_until_it_is_taken_back_and_the_list_keeps_both(client: TestClient) -> None:
    made = client.post("/mutes", json=MUTE)
    assert made.status_code == 201
    mute = made.json()
    assert (mute["check"], mute["column"], mute["made_by"]) == ("data_drift", "petal_length", "a caller without a key")
    assert [one["id"] for one in client.get("/mutes").json()["mutes"]] == [mute["id"]]
    assert client.get("/models/iris/mutes").json() == client.get("/mutes").json()
    page = client.get("/").text
    assert "data drift of petal_length muted until" in page
    assert "the sensor is replaced" in page
    undone = client.delete(f"/mutes?id={mute['id']}").json()
    assert (undone["action"], undone["undoes"]) == ("unmute", mute["id"])
    after = client.get("/mutes").json()
    assert after["mutes"] == []
    assert [one["action"] for one in after["changes"]] == ["unmute", "mute"]
    assert client.delete(f"/mutes?id={mute['id']}").status_code == 404


def test_a_segment_is_muted_by_the_name_that_a_failed_check_has(settings: Settings, divided_artifact: Path) -> None:
    app = create_app(settings.model_copy(update={"model_dir": divided_artifact}))
    failed = {"check": "performance", "measure": "segment", "value": 0.1, "threshold": 0.5}
    with TestClient(app) as client:
        for column, status in (("shop=3", 201), ("colour (the rest)", 201), ("town=3", 422), ("shop", 422)):
            answer = client.post("/mutes", json={**MUTE, "check": "performance", "column": column})
            assert answer.status_code == status, column
        for check, column in (
            ("performance", f"shop={300 * 'a'}"),
            ("performance", "shop=a\0"),
            ("data_drift", "shop=3"),
        ):
            answer = client.post("/mutes", json={**MUTE, "check": check, "column": column})
            assert answer.status_code == 422, column
            assert "a segment is named as in the failed check" in answer.text
    database = Database(settings.database_url.get_secret_value())
    mutes = AlarmChanges(database).mutes()
    database.dispose()
    now = datetime.now(UTC)
    assert mute_of(mutes, {**failed, "column": "shop=3"}, now) is not None
    assert mute_of(mutes, {**failed, "column": "shop=4"}, now) is None


def test_a_mute_ends_by_itself(client: TestClient, database: Database) -> None:
    mute = client.post("/mutes", json=MUTE).json()
    with database.writing() as connection:
        connection.execute(update(alarm_changes).values(until=database.now(connection) - 1))
    assert client.get("/mutes").json()["mutes"] == []
    assert client.delete(f"/mutes?id={mute['id']}").status_code == 404
    assert "muted until" not in client.get("/").text


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"check": None, "column": None}, "check"),
        ({"check": "drift"}, "check"),
        ({"column": "<b>"}, "column"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "2199-01-01T00:00:00Z"}, "until"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "until"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"colum": "x"}, "colum"),
    ],
)
def test_a_mute_that_cannot_be_meant_is_refused_and_names_its_field(
    client: TestClient, changed: dict[str, Any], field: str
) -> None:
    answer = client.post("/mutes", json=MUTE | changed)
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert client.get("/mutes").json()["changes"] == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"check": "drift"}, "check"),
        ({"column": None}, "column"),
        ({"column": "nowhere"}, "column"),
        ({"value": 0}, "value"),
        ({"value": "nan"}, "value"),
        ({"check": "data_quality"}, "measure"),
        ({"check": "performance", "measure": "mean_absolute_error", "column": None}, "measure"),
        ({"check": "performance", "measure": "accuracy"}, "column"),
        ({"check": "performance", "measure": "recall", "column": "petal_length"}, "column"),
    ],
)
def test_a_threshold_that_cannot_be_meant_is_refused_and_names_its_field(
    client: TestClient, asked: dict[str, Any], field: str
) -> None:
    answer = client.post("/thresholds", json=THRESHOLD | asked)
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert client.get("/thresholds").json()["thresholds"] == []


def test_a_threshold_is_one_more_version_of_the_alarms_and_leaves_what_was_learned(
    client: TestClient, settings: Settings, database: Database
) -> None:
    manifest = read_manifest(settings.model_dir)
    log = AlarmLog(database)
    learned = log.add(manifest.version, AlarmAction.CALIBRATED, None)
    alarms = build_service_alarms(settings, database)
    first = client.post("/thresholds", json=THRESHOLD).json()
    second = client.post("/thresholds", json=THRESHOLD | {"value": 0.9}).json()
    other = client.post(
        "/thresholds", json={**THRESHOLD, "check": "performance", "column": None, "measure": "accuracy"}
    )
    assert other.status_code == 201
    current, version = alarms.current(manifest)
    assert {tuple(one) for one in current.overrides} == {
        ("data_drift", "petal_length", 0.9),
        ("accuracy", None, 0.7),
    }
    assert version == learned.id + 3
    assert "overrides" not in current.model_dump()
    assert client.delete(f"/thresholds?id={first['id']}").status_code == 404  # another one is in its place
    assert client.delete(f"/thresholds?id={second['id']}").json()["undoes"] == second["id"]
    assert [one["check"] for one in client.get("/thresholds").json()["thresholds"]] == ["performance"]
    relearned = log.add(manifest.version, AlarmAction.LEARNED, None)
    assert [one["name"] for one in relearned.overrides] == ["accuracy"]
    log.undo(manifest.version)
    assert [tuple(one) for one in alarms.current(manifest)[0].overrides] == [("accuracy", None, 0.7)]
    assert "threshold of performance (accuracy) set to 0.7" in client.get("/").text


def test_only_an_admin_may_change_them_and_the_list_has_the_name_of_the_key(
    caller: TestClient, keys: dict[str, str]
) -> None:
    for path in ("/mutes", "/thresholds", "/models/iris/mutes", "/models/iris/thresholds"):
        for scope, key in keys.items():
            answer = caller.get(path, headers={"X-API-Key": key})
            assert answer.status_code == (200 if scope in {"read", "admin"} else 403), (path, scope)
            if scope != "admin":
                assert caller.post(path, json=MUTE, headers={"X-API-Key": key}).status_code == 403
        assert caller.post(path, json=MUTE).status_code == 401
        assert caller.delete(f"{path}?id=1").status_code == 401
    made = caller.post("/mutes", json=MUTE, headers={"X-API-Key": keys["admin"]})
    assert made.json()["made_by"] == "admin"


def test_a_muted_failure_neither_counts_nor_alerts_and_is_still_listed(
    client: TestClient, settings: Settings, database: Database
) -> None:
    windows = Windows(database, model_version=read_manifest(settings.model_dir).version)
    for _ in range(2):
        windows.add(failed=FAILED)
    notifier = AlertNotifier(
        WindowStore(database),
        read_manifest(settings.model_dir).version,
        changes=AlarmChanges(database),
        quorum=Quorum(2, 3),
        wording=Wording("iris", SnapshotLinks("", "", "iris"), timedelta(minutes=4), NextSteps("", None, Path("m"))),
        alertmanager=None,
        metrics=Metrics(CollectorRegistry()),
    )

    def firing() -> list[str]:
        return [check.name for check, state in notifier.states() if state.firing]

    assert firing() == ["data_drift"]
    mute = client.post("/mutes", json=MUTE | {"column": "petal_width"}).json()
    assert firing() == ["data_drift"]  # another column
    client.delete(f"/mutes?id={mute['id']}")
    mute = client.post("/mutes", json=MUTE | {"check": None}).json()
    assert firing() == []
    client.delete(f"/mutes?id={mute['id']}")
    assert firing() == ["data_drift"]


def test_the_commands_mute_list_and_undo(
    settings: Settings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIE_MODEL_DIR", str(settings.model_dir))
    monkeypatch.setenv("VIGIE_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("COLUMNS", "200")
    assert mute_command.main(["data_drift", "--column", "petal_length", "--until", SOON, "--reason", "known"]) == 0
    (mute,) = AlarmChanges(database).mutes()
    assert mute.made_by.endswith("(command line)")
    assert mute_command.main(["--list"]) == 0
    assert "known" in capsys.readouterr().out
    assert mute_command.main(["--undo", str(mute.id)]) == 0
    assert AlarmChanges(database).mutes() == []
    assert mute_command.main(["--undo", str(mute.id)]) == 2
    assert "no mute" in capsys.readouterr().err
    assert mute_command.main(["data_drift", "--until", "2020-01-01", "--reason", "late"]) == 2
    assert "until" in capsys.readouterr().err
    assert threshold_command.main(["data_drift", "0.7", "--column", "petal_length", "--reason", "spring"]) == 0
    version = read_manifest(settings.model_dir).version
    (threshold,) = AlarmChanges(database).thresholds(version)
    assert threshold_command.main(["--list"]) == 0
    assert "spring" in capsys.readouterr().out
    assert threshold_command.main(["--undo", str(threshold.id)]) == 0
    assert AlarmChanges(database).thresholds(version) == []
    with pytest.raises(SystemExit):
        mute_command.main(["data_drift"])
    with pytest.raises(SystemExit):
        threshold_command.main(["data_drift", "--reason", "no value"])


def test_each_model_has_changes_of_its_own(settings: Settings, database: Database) -> None:
    changes = AlarmChanges(database, 1)
    until = datetime.now(UTC) + timedelta(days=1)
    changes.mute("me", "data_drift", None, until, "why")
    assert AlarmChanges(database, 2).mutes() == []
    assert AlarmChanges(database, 2).newest() == []
    with TestClient(create_app(settings)) as other_process:
        assert len(other_process.get("/mutes").json()["mutes"]) == 1
