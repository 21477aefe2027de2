"""The API with a regression model: predictions, the log, labels, the schema and the model card."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.errors import NoFiniteAnswer
from api.prediction_log.database import Database
from api.prediction_log.writer import LogWriter
from api.serving.responses import responses_for
from api.settings import Settings
from model.artifact.manifest import RegressorManifest
from model.artifact.store import read_manifest, read_test
from model.serving.engines import Numbers, Row
from model.serving.predictor import RegressionPredictor, load_predictor
from tests.logging_rows import Logged
from tests.retraining import retrain

JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


@pytest.fixture
def settings(settings: Settings, diabetes_artifact: Path) -> Settings:
    return settings.model_copy(update={"model_dir": diabetes_artifact})


@pytest.fixture
def manifest(diabetes_artifact: Path) -> RegressorManifest:
    manifest = read_manifest(diabetes_artifact)
    assert isinstance(manifest, RegressorManifest)
    return manifest


@pytest.fixture
def patient(manifest: RegressorManifest) -> dict[str, Any]:
    return {feature.name: feature.example for feature in manifest.features}


def answered(client: TestClient, patient: dict[str, Any]) -> str:
    return str(client.post("/predict", json=patient).json()["prediction_id"])


def feedback(client: TestClient, prediction_id: str, label: str) -> Any:
    """Send one label, as it is written in JSON."""
    body = f'{{"labels": [{{"prediction_id": "{prediction_id}", "label": {label}}}]}}'
    return client.post("/feedback", content=body, headers=JSON)


def test_a_number_is_answered_without_probabilities_and_logged_as_it_was_sent(
    client: TestClient, patient: dict[str, Any], logged: Logged, diabetes_artifact: Path
) -> None:
    answer = client.post("/predict", json=patient)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["prediction_id", "prediction", "model_version"]
    (row,) = logged("predictions")
    assert (row["id"], row["probabilities"]) == (body["prediction_id"], "{}")
    assert row["prediction"] == repr(body["prediction"])
    assert f'"prediction":{row["prediction"]},' in answer.text
    expected = load_predictor(diabetes_artifact).predict([list(patient.values())])
    assert body["prediction"] == expected.tolist()[0]


def test_a_batch_of_numbers_is_answered_in_its_order(
    client: TestClient, manifest: RegressorManifest, logged: Logged, diabetes_artifact: Path
) -> None:
    frame = read_test(diabetes_artifact).head(20)
    rows = frame[list(manifest.feature_names)].to_dict("records")
    answer = client.post("/predict/batch", json={"rows": rows})
    predicted = [item["prediction"] for item in answer.json()["predictions"]]
    assert predicted == pytest.approx(frame["prediction"].to_list(), rel=1e-5)
    assert len(set(predicted)) > 10
    assert [float(row["prediction"]) for row in sorted(logged("predictions"), key=lambda row: row["id"])] == predicted


LABELS = {
    "12.5": "12.5",
    "3": "3.0",
    "-7": "-7.0",
    "-0.0": "0.0",
    "0": "0.0",
    "1e2": "100.0",
    "1e308": "1e+308",
    "5e-324": "5e-324",
    "1e-400": "0.0",
    "123456789012345678901234567890": "1.2345678901234568e+29",
}
"""Labels as in JSON, and as in the log."""


def test_a_finite_number_is_a_label_and_logged_as_one_text(
    client: TestClient, patient: dict[str, Any], logged: Logged
) -> None:
    expected = {}
    for label, text in LABELS.items():
        key = answered(client, patient)
        answer = feedback(client, key, label)
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "unknown": []}), label
        expected[key] = text
    assert {row["prediction_id"]: row["label"] for row in logged("labels")} == expected


def test_a_label_that_is_not_a_finite_number_is_refused_and_named(
    client: TestClient, patient: dict[str, Any], logged: Logged
) -> None:
    key = answered(client, patient)
    for label in (
        *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, "true", "false", "null", '"3"', '""'),
        *('"NaN"', "[3]", '{"value": 3}'),
    ):
        answer = feedback(client, key, label)
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), (label, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == ["labels[0].label"]
        assert "labels[0].label" in answer.json()["detail"]
    assert logged("labels") == []


def test_a_number_too_long_to_read_is_refused(client: TestClient, patient: dict[str, Any], logged: Logged) -> None:
    answer = feedback(client, answered(client, patient), "1" * 5000)
    assert (answer.status_code in {400, 422}, answer.headers["content-type"]) == (True, PROBLEM)
    assert logged("labels") == []


def test_one_bad_label_stores_none(client: TestClient, patient: dict[str, Any], logged: Logged) -> None:
    key = answered(client, patient)
    labels = [{"prediction_id": key, "label": label} for label in (1.5, True)]
    answer = client.post("/feedback", json={"labels": labels})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "labels[1].label"
    assert logged("labels") == []


def test_the_same_number_in_another_spelling_is_a_repeated_label(
    client: TestClient, patient: dict[str, Any], logged: Logged
) -> None:
    key = answered(client, patient)
    feedback(client, key, "150")
    before = logged("labels")
    for again in ("150.0", "1.5e2"):
        assert feedback(client, key, again).json() == {"accepted": 1, "unknown": []}
    assert logged("labels") == before
    feedback(client, key, "151")
    (after,) = logged("labels")
    assert (after["label"], after["arrived_at"] > before[0]["arrived_at"]) == ("151.0", True)


def test_a_body_gets_the_same_answer_in_every_encoding_of_json(client: TestClient, patient: dict[str, Any]) -> None:
    plain = json.dumps(patient)
    first = json.dumps(next(iter(patient.values())))
    others = ("-0.0", "1e300", "1e400", "NaN", "true", '"3"', "1" * 400, "null")
    sent = [plain, *(plain.replace(first, other, 1) for other in others)]

    def answers(encoding: str) -> list[tuple[int, Any]]:
        found = [client.post("/predict", content=text.encode(encoding), headers=JSON) for text in sent]
        return [(one.status_code, one.json() | {"prediction_id": ""}) for one in found]

    expected = answers("utf-8")
    assert [status for status, _ in expected[:3]] == [200] * 3
    assert {status for status, _ in expected[3:-1]} == {422}
    assert answers("utf-16") == expected


class Broken:
    """A regressor without a finite number for a first feature above 100."""

    def numbers(self, rows: Sequence[Row]) -> Numbers:
        return np.array([np.inf if float(row[0] or 0) > 100 else 50.0 for row in rows])


def test_a_row_without_a_finite_number_is_refused_by_its_place(manifest: RegressorManifest) -> None:
    answers = responses_for(RegressionPredictor(manifest, Broken()))
    valid = [20.0, *[1.0] * (len(manifest.features) - 1)]
    with pytest.raises(NoFiniteAnswer, match=r"^rows\[1\]: the model has no finite number") as refused:
        answers.respond([valid, [200.0, *valid[1:]], valid, [300.0, *valid[1:]]])
    assert [error.field for error in refused.value.errors] == ["rows[1]", "rows[3]"]
    with pytest.raises(NoFiniteAnswer, match=r"^body: "):
        answers.respond([[200.0, *valid[1:]]])


def test_a_row_without_a_finite_number_fails_no_other_request(
    manifest: RegressorManifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    valid = [20.0, *[1.0] * (len(manifest.features) - 1)]

    async def ask() -> list[Any]:
        writer = LogWriter(database, 1000, respond=responses_for(RegressionPredictor(manifest, Broken())).respond)
        requests = [[valid], [[200.0, *valid[1:]]], [valid] * 3]
        waiting = [asyncio.create_task(writer.log_responses(rows)) for rows in requests]
        await asyncio.sleep(0)
        writer.start()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        await writer.close()
        return found

    good, bad, others = asyncio.run(ask())
    assert isinstance(bad, NoFiniteAnswer)
    assert (len(good), len(others)) == (1, 3)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one() == 4
    database.dispose()
    assert caplog.text == ""  # such requests do not fill the log of the program


def test_an_infinite_answer_is_a_problem_with_status_422(
    settings: Settings, patient: dict[str, Any], monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setattr("model.serving.engines.OnnxRegressor.numbers", lambda _self, rows: np.full(len(rows), np.nan))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for path, body, field in (
            ("/predict", patient, "body"),
            ("/predict/batch", {"rows": [patient] * 2}, "rows[0]"),
        ):
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
            assert answer.json()["errors"][0]["field"] == field
        assert 'reason="no_finite_answer"} 2.0' in client.get("/metrics").text
    assert logged("predictions") == []


def test_the_schema_shows_a_number_and_no_probabilities(client: TestClient, manifest: RegressorManifest) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    answer = schemas["Prediction"]
    assert answer["required"] == ["prediction_id", "prediction", "model_version"] == list(answer["properties"])
    assert answer["properties"]["prediction"]["type"] == "number"
    assert manifest.target in answer["properties"]["prediction"]["description"]
    assert schemas["Predictions"]["properties"]["predictions"]["items"] == {"$ref": "#/components/schemas/Prediction"}
    label = schemas["Label"]
    assert label["properties"]["label"]["type"] == "number"
    assert label["required"] == ["prediction_id", "label"]
    (example,) = label["properties"]["label"]["examples"]  # which is what Swagger UI fills in
    assert manifest.label_range.minimum < example < manifest.label_range.maximum
    (shown,) = (document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"],)
    assert list(shown) == list(answer["properties"])
    assert "classes" not in schemas["RegressorCard"]["properties"]


def test_the_model_card_describes_a_regression_model(client: TestClient, manifest: RegressorManifest) -> None:
    card = client.get("/model").json()
    assert card["task"] == "regression"
    assert card["label_range"] == manifest.label_range.model_dump()
    assert card["quality"] == manifest.quality.model_dump()
    assert "classes" not in card


def test_the_start_page_shows_the_error_of_the_model(client: TestClient, manifest: RegressorManifest) -> None:
    page = client.get("/").text
    assert f"test mean absolute error {manifest.quality.mean_absolute_error:.4g}" in page
    assert f"R² {manifest.quality.r2:.3f}" in page
    assert "accuracy" not in page


@pytest.fixture
def rolling(settings: Settings, diabetes_artifact: Path, tmp_path: Path) -> Iterator[tuple[TestClient, Path]]:
    """An API whose model folder may change, and the folder."""
    folder = tmp_path / "model"
    retrain(diabetes_artifact, folder, "v1")
    app = create_app(settings.model_copy(update={"model_dir": folder}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, folder


def test_a_retrained_regression_model_is_reloaded(
    rolling: tuple[TestClient, Path], manifest: RegressorManifest, patient: dict[str, Any]
) -> None:
    client, folder = rolling
    retrain(folder, folder, "v2", label_range=manifest.label_range.model_copy(update={"maximum": 999.0}))
    assert client.post("/model/reload").json()["status"] == "reloaded"
    assert client.post("/predict", json=patient).json()["model_version"] == "v2"
    assert "25 to 999 in training" in client.get("/openapi.json").text


def test_a_classifier_cannot_replace_a_regression_model(
    rolling: tuple[TestClient, Path], iris_artifact: Path, patient: dict[str, Any]
) -> None:
    client, folder = rolling
    retrain(iris_artifact, folder, "v2")
    answer = client.post("/model/reload")
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert "it is a model for classification, not for regression" in answer.json()["detail"]
    assert "its classes" not in answer.json()["detail"]
    assert client.post("/predict", json=patient).json()["model_version"] == "v1"


@pytest.mark.parametrize(("old", "new", "taken"), [("kg", "g", False), (None, "kg", True), ("kg", None, True)])
def test_numbers_in_another_unit_are_refused(
    rolling: tuple[TestClient, Path], manifest: RegressorManifest, old: str | None, new: str | None, taken: bool
) -> None:
    client, folder = rolling
    units = [manifest.label_range.model_copy(update={"unit": unit}) for unit in (old, new)]
    retrain(folder, folder, "v2", label_range=units[0])
    assert client.post("/model/reload").status_code == 200
    retrain(folder, folder, "v3", label_range=units[1])
    answer = client.post("/model/reload")
    assert (answer.status_code == 200) is taken
    assert taken or "its labels are in g, not in kg" in answer.json()["detail"]


def test_a_model_without_a_finite_number_for_its_own_example_does_not_serve(
    rolling: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, folder = rolling
    retrain(folder, folder, "v2")
    monkeypatch.setattr("model.serving.engines.OnnxRegressor.numbers", lambda _self, rows: np.full(len(rows), np.inf))
    answer = client.post("/model/reload")
    assert answer.status_code == 409
    assert "does not predict its own example" in answer.json()["detail"]


def test_logged_numbers_read_back_unchanged(client: TestClient, patient: dict[str, Any], logged: Logged) -> None:
    prediction = client.post("/predict", json=patient).json()
    feedback(client, prediction["prediction_id"], "0.1")
    (row,), (label,) = logged("predictions"), logged("labels")
    assert float(row["prediction"]) == prediction["prediction"]
    assert float(label["label"]) == 0.1
    assert json.loads(row["probabilities"]) == {}


def test_what_swagger_ui_fills_in_could_be_a_label(client: TestClient) -> None:
    shown = client.get("/openapi.json").json()["components"]["schemas"]["Label"]["properties"]
    example = {name: field["examples"][0] for name, field in shown.items()}
    answer = client.post("/feedback", json={"labels": [example]})
    assert (answer.status_code, answer.json()["unknown"]) == (200, [example["prediction_id"]])
