"""Several models in one process: each under its name, one log for all, and a broken one that disables only itself."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from api.app import create_app
from api.installed_models import find_models
from api.prediction_log.database import Database
from api.settings import Settings
from model.errors import ArtifactError
from scripts.keys import create_key
from tests.servers import free_port
from tests.unit.api.conftest import SETOSA

PROBLEM = "application/problem+json"
BROKEN = "broken"


def settings_of(folder: Path, models: Path, **more: Any) -> Settings:
    return Settings(
        models_dir=models,
        database_url=SecretStr(f"sqlite:///{folder}/log.db"),
        reports_dir=folder / "reports",
        snapshots=False,
        allowed_hosts="testserver",
        **more,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, iris_artifact: Path, diabetes_artifact: Path) -> Path:
    """Two copies of one model, another one, a broken one, and what is no model."""
    folder = tmp_path_factory.mktemp("models")
    for name, source in (("iris", iris_artifact), ("shop", iris_artifact), ("sugar", diabetes_artifact)):
        shutil.copytree(source, folder / name)
    shutil.copytree(iris_artifact, folder / BROKEN)
    (folder / BROKEN / "model.onnx").write_bytes(b"damaged")
    (folder / "lost+found").mkdir()
    (folder / ".iris.new-1").mkdir()
    (folder / "notes.txt").write_text("no folder")
    return folder


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("many")
    with TestClient(
        create_app(settings_of(folder, models, default_model="iris")), raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture(scope="module")
def sugar_row(diabetes_artifact: Path) -> dict[str, Any]:
    manifest = json.loads((diabetes_artifact / "manifest.json").read_text())
    return {feature["name"]: feature["example"] for feature in manifest["features"]}


def predicted(client: TestClient, path: str, row: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=row)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_list_says_of_each_model_whether_it_serves(client: TestClient) -> None:
    listed = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert list(listed) == [BROKEN, "iris", "shop", "sugar"]
    assert [name for name, one in listed.items() if one["default"]] == ["iris"]
    assert {name: one["task"] for name, one in listed.items()} == {
        BROKEN: None,
        "iris": "classification",
        "shop": "classification",
        "sugar": "regression",
    }
    assert listed["sugar"]["serving"] is True
    assert listed["sugar"]["reason"] is None
    assert listed[BROKEN]["serving"] is False
    assert "model.onnx does not match its SHA-256" in listed[BROKEN]["reason"]


def test_each_model_answers_under_its_name_and_the_default_one_without(
    client: TestClient, sugar_row: dict[str, Any]
) -> None:
    assert predicted(client, "/predict", SETOSA)["prediction"] == "setosa"
    assert predicted(client, "/models/shop/predict", SETOSA)["prediction"] == "setosa"
    assert isinstance(predicted(client, "/models/sugar/predict", sugar_row)["prediction"], float)
    batch = predicted(client, "/models/sugar/predict/batch", {"rows": [sugar_row] * 3})
    assert len(batch["predictions"]) == 3
    assert client.post("/models/sugar/predict", json=SETOSA).status_code == 422
    for name, card in (("iris", client.get("/model")), ("sugar", client.get("/models/sugar"))):
        assert card.json()["name"] == {"iris": "iris", "sugar": "diabetes"}[name]
    assert client.get("/model").json() == client.get("/models/iris").json()


def test_a_label_is_of_the_model_that_predicted(client: TestClient) -> None:
    key = predicted(client, "/models/shop/predict", SETOSA)["prediction_id"]
    labels = {"labels": [{"prediction_id": key, "label": "setosa"}]}
    assert client.post("/feedback", json=labels).json() == {"accepted": 0, "unknown": [key]}
    assert client.post("/models/shop/feedback", json=labels).json() == {"accepted": 1, "unknown": []}


def test_two_models_may_use_the_same_id_and_one_of_them_is_erased_alone(
    client: TestClient, sugar_row: dict[str, Any]
) -> None:
    first = predicted(client, "/predict?prediction_id=twin", SETOSA)
    other = predicted(client, "/models/sugar/predict?prediction_id=twin", sugar_row)
    assert first["prediction_id"] == other["prediction_id"] == "twin"
    assert client.post("/models/sugar/predict?prediction_id=twin", json=sugar_row).json() == other
    assert client.delete("/models/sugar/predictions/twin").status_code == 204
    assert client.delete("/models/sugar/predictions/twin").status_code == 404
    assert client.delete(f"/models/{BROKEN}/predictions/twin").status_code == 404
    assert client.delete("/models/nobody/predictions/twin").status_code == 404
    assert predicted(client, "/models/iris/predict?prediction_id=twin", SETOSA) == first
    assert client.delete("/predictions/twin").status_code == 204


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict"),
        ("POST", "/predict/batch"),
        ("POST", "/feedback"),
        ("GET", ""),
        ("GET", "/snapshots"),
        ("POST", "/snapshots"),
        ("GET", "/snapshots/metrics"),
        ("POST", "/reload"),
    ],
)
def test_a_broken_model_answers_503_with_its_reason_and_an_unknown_one_404_with_the_names(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, f"/models/{BROKEN}{path}", json=SETOSA)
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert answer.json()["detail"].startswith(f"the model {BROKEN} is disabled: ")
    assert "does not match its SHA-256" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    answer = client.request(method, f"/models/nobody{path}", json=SETOSA)
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    names = "there is no model 'nobody'; the models are: broken, iris, shop, sugar"
    assert answer.json()["detail"] == f"{names}; a new folder is found at the next start"


def test_models_that_wait_for_their_database_say_so_and_may_be_asked_again_soon(models: Path, tmp_path: Path) -> None:
    away = SecretStr(f"postgresql://vigie@127.0.0.1:{free_port()}/vigie")
    settings = settings_of(tmp_path, models, default_model="iris").model_copy(update={"database_url": away})
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answers = [client.post("/predict", json=SETOSA), client.post("/models/iris/reload")]
        for answer in answers:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "the prediction log does not answer" in answer.json()["detail"]
        assert client.post(f"/models/{BROKEN}/predict", json=SETOSA).headers["retry-after"] == "60"
        listed = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert not listed["iris"]["serving"]
    assert "the prediction log does not answer" in listed["iris"]["reason"]
    assert "model.onnx" in listed[BROKEN]["reason"]


def test_a_broken_model_keeps_the_others_ready_and_the_page_and_a_metric_say_so(client: TestClient) -> None:
    assert client.get("/health/ready").status_code == 200
    page = client.get("/").text
    assert "does not match its SHA-256" in page
    assert 'href="models/shop/snapshots"' in page
    metrics = client.get("/metrics").text
    assert f'vigie_model_serving{{model="{BROKEN}"}} 0.0' in metrics
    assert 'vigie_model_serving{model="shop"} 1.0' in metrics


def test_the_metrics_of_a_model_bear_its_name_and_no_other_name_becomes_a_label(client: TestClient) -> None:
    predicted(client, "/models/sugar/predict", predicted_row(client, "sugar"))
    client.post("/models/nobody/predict", json=SETOSA)
    client.post("/models/sugar/predict", json=SETOSA)
    metrics = client.get("/metrics").text
    assert "nobody" not in metrics
    assert 'vigie_predicted_rows_total{model="sugar"}' in metrics
    assert 'vigie_rejected_requests_total{model="sugar",reason="missing"}' in metrics
    assert 'handler="/models/{model}/predict",method="POST",status="2xx"' in metrics
    assert 'vigie_build_info{engine="onnx",model="shop",' in metrics


def predicted_row(client: TestClient, model: str) -> dict[str, Any]:
    return {feature["name"]: feature["example"] for feature in client.get(f"/models/{model}").json()["features"]}


def test_the_schema_describes_the_calls_of_each_model_under_its_name(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert [tag["name"] for tag in schema["tags"]] == [BROKEN, "iris", "shop", "sugar"]
    call = schema["paths"]["/models/sugar/predict"]["post"]
    assert call["tags"] == ["sugar"]
    reference = call["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/sugar.Row"
    assert set(schema["components"]["schemas"]["sugar.Row"]["properties"]) == set(predicted_row(client, "sugar"))
    assert schema["paths"]["/models/shop/snapshots"]["get"]["tags"] == ["shop"]
    assert not any("{model}" in path for path in schema["paths"])
    ids = [call["operationId"] for calls in schema["paths"].values() for call in calls.values()]
    assert len(ids) == len(set(ids))


def test_a_disabled_model_serves_after_it_was_repaired_and_reloaded(
    models: Path, iris_artifact: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    with TestClient(create_app(settings_of(tmp_path, folder)), raise_server_exceptions=False) as client:
        assert client.post(f"/models/{BROKEN}/reload").status_code == 503
        shutil.copytree(iris_artifact, folder / BROKEN, dirs_exist_ok=True)
        done = client.post(f"/models/{BROKEN}/reload")
        assert (done.status_code, done.json()["status"]) == (200, "reloaded")
        assert predicted(client, f"/models/{BROKEN}/predict", SETOSA)["prediction"] == "setosa"
        assert f'vigie_model_serving{{model="{BROKEN}"}} 1.0' in client.get("/metrics").text


def test_without_a_default_model_the_calls_that_name_none_say_what_to_do(models: Path, tmp_path: Path) -> None:
    with TestClient(create_app(settings_of(tmp_path, models)), raise_server_exceptions=False) as client:
        for answer in (client.post("/predict", json=SETOSA), client.get("/model"), client.get("/snapshots")):
            assert answer.status_code == 404
            assert "no model is the default one" in answer.json()["detail"]
            assert "VIGIE_DEFAULT_MODEL" in answer.json()["detail"]
        assert client.post("/models/iris/predict", json=SETOSA).status_code == 200
        assert "/predict" not in client.get("/openapi.json").json()["paths"]


def test_the_history_of_one_model_stays_when_others_join_it(
    iris_artifact: Path, diabetes_artifact: Path, tmp_path: Path
) -> None:
    alone = settings_of(tmp_path, tmp_path).model_copy(update={"models_dir": None, "model_dir": iris_artifact})
    with TestClient(create_app(alone)) as client:
        keys = [predicted(client, "/predict", SETOSA)["prediction_id"] for _ in range(40)]
        window = client.post("/snapshots").json()
    shutil.copytree(iris_artifact, tmp_path / "models" / "flowers")
    shutil.copytree(diabetes_artifact, tmp_path / "models" / "another")
    with TestClient(create_app(settings_of(tmp_path, tmp_path / "models", default_model="flowers"))) as client:
        for path in ("/snapshots", "/models/flowers/snapshots"):
            assert [one["start"] for one in client.get(path).json()["windows"]] == [window["start"]]
        assert client.get("/models/another/snapshots").json()["windows"] == []
        labels = {"labels": [{"prediction_id": key, "label": "setosa"} for key in keys]}
        assert client.post("/models/flowers/feedback", json=labels).json()["accepted"] == 40
        links = {one["name"]: one for one in client.get("/models").json()["models"]}
        assert links["flowers"]["last_window"]["start"] == window["start"]
    with TestClient(create_app(alone)) as client:  # and back again
        assert [one["start"] for one in client.get("/snapshots").json()["windows"]] == [window["start"]]


def test_a_single_model_is_listed_and_answers_under_its_name_too(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        (only,) = client.get("/models").json()["models"]
        assert (only["name"], only["default"], only["serving"]) == ("iris", True, True)
        assert predicted(client, "/models/iris/predict", SETOSA)["prediction"] == "setosa"
        assert client.get("/models/iris/snapshots").json()["windows"] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("interval: 60", "interval: Extra inputs are not permitted; the keys are snapshot_interval_seconds, "),
        ("snapshot_interval_seconds: 0", "snapshot_interval_seconds: Input should be greater than or equal to 1"),
        ('snapshot_min_rows: "50"', "snapshot_min_rows: Input should be a valid integer"),
        ("alert_windows: 1", "VIGIE_ALERT_WINDOWS_FAILED cannot be more than VIGIE_ALERT_WINDOWS"),
        ("snapshot_tiers: hourly", "'hourly' in 'hourly' is no time"),
        ("- 60", "the file: Input should be a valid dictionary"),
        ("log_keep_days: 3\nlog_keep_days: 4", "line 2: 'log_keep_days' occurs twice"),
        ("\x00", "is not YAML"),
        ("drift_floors: {bmi: -1}", "drift_floors.bmi: Input should be greater than or equal to 0"),
        ("drift_floors: 0.2", "drift_floors: Input should be a valid dictionary"),
    ],
)
def test_own_settings_that_are_not_valid_disable_only_their_model(
    models: Path, tmp_path: Path, text: str, reason: str
) -> None:
    folder = tmp_path / "models"
    for name in ("iris", "sugar"):
        (folder / name).mkdir(parents=True)
        for file in (models / name).iterdir():
            (folder / name / file.name).symlink_to(file)
    (folder / "sugar" / "vigie.yaml").write_text(text)
    found = {model.name: model for model in find_models(settings_of(tmp_path, folder)).models}
    assert found["iris"].error is None
    assert reason in (found["sugar"].error or "")


def test_a_model_has_settings_of_its_own_and_keeps_them_when_it_is_trained_again(
    iris_artifact: Path, tmp_path: Path
) -> None:
    from model.artifact.store import read_manifest, write_artifact  # noqa: PLC0415

    folder = shutil.copytree(iris_artifact, tmp_path / "models" / "iris")
    own = "snapshot_interval_seconds: 3600\nlog_keep_days: 7\nalert_windows_failed: 1\nevidently_project: Flowers\n"
    (folder / "vigie.yaml").write_text(own)
    manifest = read_manifest(folder)
    write_artifact(folder, {name: (folder / name).read_bytes() for name in manifest.files}, manifest)
    (model,) = find_models(settings_of(tmp_path, tmp_path / "models")).models
    assert model.error is None
    assert (model.settings.snapshot_interval_seconds, model.settings.log_keep_days) == (3600, 7)
    assert (model.settings.alert_windows_failed, model.settings.alert_windows, model.project) == (1, 3, "Flowers")


def test_a_floor_of_its_own_raises_the_threshold_of_one_column_and_lowers_none(models: Path, tmp_path: Path) -> None:
    from api.installed_models import with_drift_floors  # noqa: PLC0415
    from model.artifact.store import read_manifest  # noqa: PLC0415

    manifest = read_manifest(models / "iris")
    raised = with_drift_floors(manifest, [("petal_width", 0.9), ("sepal_width", 0.0)])
    assert raised.threshold("petal_width").at(1000) == 0.9 > manifest.threshold("petal_width").at(1000)
    for column in ("sepal_width", "prediction"):
        assert raised.threshold(column) == manifest.threshold(column)


def test_a_floor_of_an_unknown_column_disables_its_model(models: Path, tmp_path: Path) -> None:
    for name in ("iris", "shop"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    (tmp_path / "models" / "shop" / "vigie.yaml").write_text("drift_floors: {petal_wdith: 0.2}\n")
    with TestClient(create_app(settings_of(tmp_path, tmp_path / "models"))) as client:
        listed = {one["name"]: one["reason"] for one in client.get("/models").json()["models"]}
    assert listed["iris"] is None
    assert "no drift is measured of 'petal_wdith', but of sepal_length" in (listed["shop"] or "")


def test_two_models_cannot_name_one_project(models: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "vigie.yaml").write_text("evidently_project: same\n")
    first, second = find_models(settings_of(tmp_path, tmp_path / "models")).models
    assert first.error is None
    assert "the model a has this evidently_project too" in (second.error or "")


def test_models_of_one_name_have_projects_of_their_own(models: Path, tmp_path: Path) -> None:
    """Both were trained as 'iris', and the other folder's name is that of the first model."""
    from api.wiring import places_of  # noqa: PLC0415

    for name in ("flowers", "iris"):
        shutil.copytree(models / "iris", tmp_path / "models" / name)
    installation = find_models(settings_of(tmp_path, tmp_path / "models", default_model="flowers"))
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    places = places_of(installation, database)
    database.dispose()
    assert places["flowers"].project is None, "the name that it was trained under, as if it were alone"
    assert places["iris"].project == "iris (2)"


def test_settings_about_several_models_say_what_is_wrong(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValidationError, match="set VIGIE_MODELS_DIR too"):
        Settings(default_model="iris")
    with pytest.raises(ArtifactError, match=r"VIGIE_DEFAULT_MODEL is 'rose', but the models in .* are: broken, iris"):
        find_models(settings_of(tmp_path, models, default_model="rose"))
    with pytest.raises(ArtifactError, match="which VIGIE_MODELS_DIR names: each model is a folder in it"):
        find_models(settings_of(tmp_path, tmp_path))
    with pytest.raises(ArtifactError, match="cannot be read as a folder"):
        find_models(settings_of(tmp_path, tmp_path / "none"))
    with caplog.at_level("INFO"):
        find_models(settings_of(tmp_path, models, model_dir=Path("elsewhere")))
    assert "VIGIE_MODELS_DIR is set, so VIGIE_MODEL_DIR (elsewhere) is not used" in caplog.text
    shutil.copytree(models / "iris", tmp_path / "models" / "an iris")
    with pytest.raises(ArtifactError):
        find_models(settings_of(tmp_path, tmp_path / "models"))
    assert "its name cannot be that of a model" in caplog.text
    assert Settings(models_dir="", default_model="").models_dir is None, "as Docker Compose passes what is not set"


def test_names_that_differ_in_capital_letters_only_are_two_models_and_the_log_says_so(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("IRIS", "iris", "shop"):
        shutil.copytree(models / "iris", tmp_path / "models" / name)
    installed = find_models(settings_of(tmp_path, tmp_path / "models"))
    assert installed.names == ["IRIS", "iris", "shop"]
    (line,) = [one.getMessage() for one in caplog.records if "capital" in one.getMessage()]
    assert line == "the models IRIS and iris differ in capital letters only: callers may mix them up"


def test_a_model_may_be_a_link_and_one_whose_folder_goes_serves_until_the_next_start(
    models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "iris", tmp_path / "elsewhere")
    for name in ("iris", "shop"):
        shutil.copytree(models / "iris", tmp_path / "models" / name)
    (tmp_path / "models" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "models" / "dangling").symlink_to(tmp_path / "nowhere")
    settings = settings_of(tmp_path, tmp_path / "models")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert [one["name"] for one in client.get("/models").json()["models"]] == ["iris", "linked", "shop"]
        (tmp_path / "models" / "shop").rename(tmp_path / "models" / "store")
        answer = client.post("/models/shop/reload")
        assert answer.status_code == 409
        assert "no model in" in answer.json()["detail"]
        assert client.post("/models/shop/predict", json=SETOSA).status_code == 200
        assert client.post("/models/linked/predict", json=SETOSA).status_code == 200
        answer = client.post("/models/store/predict", json=SETOSA)
        assert answer.status_code == 404
        detail = (
            "there is no model 'store'; the models are: iris, linked, shop; a new folder is found at the next start"
        )
        assert answer.json()["detail"] == detail
    with TestClient(create_app(settings)) as client:
        assert [one["name"] for one in client.get("/models").json()["models"]] == ["iris", "linked", "store"]


def test_a_start_without_the_default_model_says_to_name_another(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from api.__main__ import main  # noqa: PLC0415

    monkeypatch.setenv("VIGIE_MODELS_DIR", str(models))
    monkeypatch.setenv("VIGIE_DEFAULT_MODEL", "gone")
    monkeypatch.setattr("api.__main__.signal", lambda *_arguments: None)
    assert main() == 2
    said = capsys.readouterr().err
    assert "the models in" in said
    assert said.endswith("name one of them, or put its folder back\n"), "to train one would not help"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_without_any_model_says_where_to_train_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    from api.__main__ import main  # noqa: PLC0415

    monkeypatch.setenv("VIGIE_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("VIGIE_WORKERS", workers)
    monkeypatch.setattr("api.__main__.signal", lambda *_arguments: None)
    assert main() == 2
    said = capsys.readouterr().err
    assert "which VIGIE_MODELS_DIR names: each model is a folder in it" in said
    assert f"python -m model.train --out {tmp_path}/NAME" in said


def test_a_key_that_is_bound_to_models_calls_and_sees_only_these(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    bound = {"X-API-Key": create_key(file, "shop", ["predict", "feedback", "read", "admin"], models=["shop"])}
    free = {"X-API-Key": create_key(file, "all", ["predict", "read"])}
    app = create_app(settings_of(tmp_path, models, default_model="iris", api_keys_file=file))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/models/shop/predict", json=SETOSA, headers=bound).status_code == 200
        assert client.get("/models/shop/snapshots", headers=bound).status_code == 200
        refused = [
            client.post("/predict", json=SETOSA, headers=bound),
            client.post("/models/iris/predict", json=SETOSA, headers=bound),
            client.post("/models/nobody/predict", json=SETOSA, headers=bound),
            client.post("/model/reload", headers=bound),
            client.get("/snapshots", headers=bound),
            client.get("/reports/2026-11-23/20261123T000000Z_20261123T000500Z.html", headers=bound),
            client.get("/reports/2026-11-23/20261123T000000Z_20261123T000500Z.sugar.html", headers=bound),
        ]
        assert {answer.status_code for answer in refused} == {403}
        assert refused[0].json()["detail"] == "the key 'shop' is bound to other models: shop"
        own = client.get("/reports/2026-11-23/20261123T000000Z_20261123T000500Z.shop.html", headers=bound)
        assert own.status_code == 404, "allowed, but there is none"
        assert [one["name"] for one in client.get("/models", headers=bound).json()["models"]] == ["shop"]
        page = client.get("/", headers=bound).text
        assert "models/shop/snapshots" in page
        assert "sugar" not in page
        assert len(client.get("/models", headers=free).json()["models"]) == 4
        assert client.post("/models/sugar/reload", headers=free).status_code == 403
        assert 'vigie_denied_requests_total{reason="other_model"} 7.0' in client.get("/metrics").text
