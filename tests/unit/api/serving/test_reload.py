"""Reloading the model while the API serves."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.prediction_log.database import Database
from api.prediction_log.models import ServedVersionStore
from api.serving.model_archive import ModelArchive
from api.serving.reload import ModelReloader
from api.serving.served_model import ServedModel
from api.settings import Settings
from model.artifact.manifest import Feature
from model.artifact.store import MANIFEST_FILE, ONNX_FILE, REFERENCE_FILE, read_manifest
from model.serving.predictor import load_predictor
from tests.logging_rows import Logged
from tests.retraining import retrain

PROBLEM = "application/problem+json"


class Counted:
    """What a reloader counted in the metrics."""

    def __init__(self) -> None:
        self.reloads: list[str] = []
        self.out_of_date = False

    def count_reload(self, outcome: str) -> None:
        self.reloads.append(outcome)

    def observe_out_of_date(self, *, out_of_date: bool) -> None:
        self.out_of_date = out_of_date


def archive(folder: Path) -> ModelArchive:
    return ModelArchive(folder.parent / "reports")


class Process:
    """One process that serves the model of a folder, and reads the announcements in the log."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.metrics = Counted()
        self.served = ServedModel(load_predictor(folder))
        self.reloader = ModelReloader(self.served, folder, ServedVersionStore(database), self.metrics, archive(folder))  # type: ignore[arg-type]
        self.reloader.start()


@pytest.fixture
def folder(tmp_path: Path, iris_artifact: Path) -> Path:
    """A model folder of the test's own, which holds version v1."""
    retrain(iris_artifact, tmp_path / "model", "v1")
    return tmp_path / "model"


@pytest.fixture
def reloading(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"model_dir": folder})


@pytest.fixture
def client(reloading: Settings) -> Any:
    with TestClient(create_app(reloading), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def database(database_url: str) -> Any:
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


def renamed(features: tuple[Feature, ...], **changes: Any) -> tuple[Feature, ...]:
    return (features[0].model_copy(update=changes), *features[1:])


def test_the_version_in_the_folder_serves_from_then_on(
    client: TestClient, folder: Path, setosa: dict[str, Any], logged: Logged
) -> None:
    assert client.post("/predict", json=setosa).json()["model_version"] == "v1"
    features = renamed(read_manifest(folder).features, maximum=99.0, description="newly described")
    retrain(folder, folder, "v2", features=features)
    assert client.post("/predict", json=setosa).json()["model_version"] == "v1"
    answer = client.post("/model/reload")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "reloaded", "model_version": "v2", "previous_version": "v1"},
    )
    assert client.post("/predict", json=setosa).json()["model_version"] == "v2"
    assert client.post("/predict/batch", json={"rows": [setosa]}).json()["predictions"][0]["model_version"] == "v2"
    assert [row["model_version"] for row in logged("predictions")] == ["v1", "v1", "v2", "v2"]
    assert client.get("/model").json()["version"] == "v2"
    assert "v2" in client.get("/").text


def test_an_archived_version_that_is_put_back_serves_the_same_answers_by_the_same_way(
    client: TestClient, folder: Path, setosa: dict[str, Any]
) -> None:
    before, card = client.post("/predict", json=setosa).json(), client.get("/model").json()
    assert card["engine"] == "onnx"
    retrain(folder, folder, "v2")
    assert client.post("/model/reload").status_code == 200
    shutil.rmtree(folder)
    shutil.copytree(archive(folder).folder_of("v1"), folder)
    answer = client.post("/model/reload")
    assert answer.json() == {"status": "reloaded", "model_version": "v1", "previous_version": "v2"}
    after = client.post("/predict", json=setosa).json()
    assert {**after, "prediction_id": None} == {**before, "prediction_id": None}
    assert client.get("/model").json() == card


def test_metrics_and_documentation_show_only_the_new_version(client: TestClient, folder: Path) -> None:
    assert "newly described" not in client.get("/openapi.json").text
    features = renamed(read_manifest(folder).features, description="newly described")
    retrain(folder, folder, "v2", features=features)
    assert client.post("/model/reload").status_code == 200
    schema = client.get("/openapi.json")
    assert schema.json()["info"]["version"] == "v2"
    assert "newly described" in schema.text
    text = client.get("/metrics").text
    assert 'model_version="v2"' in text
    assert 'model_version="v1"' not in text
    assert 'vigie_model_reloads_total{outcome="reloaded"} 1.0' in text
    assert "vigie_model_behind 0.0" in text


def test_the_same_version_is_already_served(client: TestClient) -> None:
    answer = client.post("/model/reload")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "already", "model_version": "v1", "previous_version": "v1"},
    )


def test_another_schema_is_refused_with_what_differs(client: TestClient, folder: Path, setosa: dict[str, Any]) -> None:
    features = read_manifest(folder).features
    changes: dict[str, dict[str, Any]] = {
        "it needs the new field stem_length": {"features": renamed(features, name="stem_length")},
        "it has no field sepal_length": {"features": renamed(features, name="stem_length")},
        "sepal_length is a category that": {"features": renamed(features, type="category")},
        "its fields come in another order": {"features": tuple(reversed(features))},
        "its classes are 'a', 'b', 'c', not 'setosa', 'versicolor', 'virginica'": {"classes": ("a", "b", "c")},
    }
    for number, (text, change) in enumerate(changes.items()):
        original = folder.with_name(f"original{number}")
        retrain(folder, original, "v1")
        retrain(folder, folder, "v2", **change)
        answer = client.post("/model/reload")
        assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM), answer.text
        assert text in answer.json()["detail"]
        assert "restart the API" in answer.json()["detail"]
        retrain(original, folder, "v1")
    assert client.post("/predict", json=setosa).json()["model_version"] == "v1"
    assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("file", [ONNX_FILE, REFERENCE_FILE, MANIFEST_FILE])
def test_a_damaged_artifact_is_refused_and_the_old_one_keeps_serving(
    client: TestClient, folder: Path, setosa: dict[str, Any], file: str
) -> None:
    retrain(folder, folder, "v2")
    damaged = (folder / file).read_bytes()[:-20]
    (folder / file).write_bytes(damaged)
    answer = client.post("/model/reload")
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert file in answer.json()["detail"]
    assert "the API keeps serving v1" in answer.json()["detail"]
    assert client.post("/predict", json=setosa).json()["model_version"] == "v1"
    assert 'vigie_model_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text


def test_nothing_changes_if_the_log_cannot_be_written(
    client: TestClient, folder: Path, database: Database, setosa: dict[str, Any]
) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE model_roll RENAME TO model_roll_away")
    retrain(folder, folder, "v2")
    answer = client.post("/model/reload")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/predict", json=setosa).json()["model_version"] == "v1"


def test_every_process_that_shares_the_log_reloads(folder: Path, database: Database) -> None:
    one, other = Process(folder, database), Process(folder, database)
    retrain(folder, folder, "v2")
    other.reloader.check_announced()
    assert other.reloader.version == "v1"  # nothing is announced yet
    one.reloader.reload()
    other.reloader.check_announced()
    one.reloader.check_announced()
    assert (one.reloader.version, other.reloader.version) == ("v2", "v2")
    assert (one.metrics.reloads, other.metrics.reloads) == (["reloaded"], ["reloaded"])


def test_a_process_without_the_version_in_its_folder_logs_it_and_reloads_once_it_is_there(
    folder: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = folder.with_name("elsewhere")
    retrain(folder, elsewhere, "v1")
    here, there = Process(folder, database), Process(elsewhere, database)
    retrain(folder, folder, "v2")
    here.reloader.reload()
    there.reloader.check_announced()
    there.reloader.check_announced()
    assert (there.reloader.version, there.metrics.out_of_date, there.metrics.reloads) == ("v1", True, ["refused"])
    assert "elsewhere holds the version v1" in caplog.text
    retrain(folder, elsewhere, "v2")
    there.reloader.check_announced()
    assert (there.reloader.version, there.metrics.out_of_date) == ("v2", False)


def test_a_process_starts_with_the_version_in_its_folder_whatever_was_announced_before(
    folder: Path, database: Database
) -> None:
    Process(folder, database).reloader.reload()
    retrain(folder, folder, "v2")
    late = Process(folder, database)
    late.reloader.check_announced()
    assert (late.reloader.version, late.metrics.out_of_date) == ("v2", False)


def test_a_folder_that_changed_while_the_process_started_is_loaded(folder: Path, database: Database) -> None:
    served = ServedModel(load_predictor(folder))
    retrain(folder, folder, "v2")
    reloader = ModelReloader(served, folder, ServedVersionStore(database), Counted(), archive(folder))  # type: ignore[arg-type]
    reloader.start()
    assert reloader.version == "v2"


def test_an_older_version_can_be_reloaded(folder: Path, database: Database) -> None:
    process = Process(folder, database)
    for version in ("v2", "v1", "v2"):
        retrain(folder, folder, version)
        process.reloader.reload()
        assert process.reloader.version == version


def test_each_version_is_kept_before_it_serves(folder: Path, database: Database) -> None:
    process = Process(folder, database)
    assert archive(folder).versions() == ["v1"]
    seen: list[list[str]] = []
    process.served.on_change(lambda _: seen.append(archive(folder).versions()))
    retrain(folder, folder, "v2")
    process.reloader.reload()
    assert seen == [["v1", "v2"]]


def test_a_version_that_cannot_be_kept_serves_anyway_and_is_kept_as_soon_as_possible(
    folder: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = folder.parent / "reports"
    in_the_way.write_text("a file", encoding="utf-8")
    process = Process(folder, database)
    process.reloader.check_announced()
    assert process.reloader.version == "v1"
    assert len([record for record in caplog.records if "could not be kept" in record.getMessage()]) == 1
    in_the_way.unlink()
    process.reloader.check_announced()
    assert archive(folder).versions() == ["v1"]


def test_no_report_is_a_file_of_a_kept_version(client: TestClient, reloading: Settings) -> None:
    folder = reloading.reports_dir / "models" / "v1"
    assert (folder / MANIFEST_FILE).is_file()
    for path in ("models/v1", "models/v1%2Fmanifest.json", "models%2Fv1/manifest.json", "models/v1/manifest.json"):
        assert client.get(f"/reports/{path}").status_code in {404, 422}, path
