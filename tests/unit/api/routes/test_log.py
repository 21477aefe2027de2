"""POST /models/{model}/log: predictions that were made elsewhere are logged once, with their labels, or refused."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from tests.logging_rows import Logged
from tests.unit.api.conftest import Bearer
from tests.watched import loans, losses
from tests.watched import logged as sent

LOG = "/models/loans/log"
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what both databases do alike."""


@pytest.fixture
def watching(settings: Settings, watched_artifact: Callable[[str], Path]) -> Iterator[TestClient]:
    """An API whose model is served elsewhere."""
    app = create_app(settings.model_copy(update={"model_dir": watched_artifact("classes")}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def numbers(settings: Settings, watched_artifact: Callable[[str], Path]) -> Iterator[TestClient]:
    """The same of a number."""
    app = create_app(settings.model_copy(update={"model_dir": watched_artifact("numbers")}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def one(**changes: Any) -> dict[str, Any]:
    return sent(loans(1)[0]) | changes


def post(client: TestClient, *predictions: Any) -> Any:
    return client.post(LOG, json={"predictions": list(predictions)})


def test_predictions_are_logged_as_they_were_made(watching: TestClient, logged: Logged) -> None:
    rows = loans(3)
    answer = post(watching, *(sent(row) for row in rows))
    assert answer.status_code == 200, answer.text
    version = watching.get("/model").json()["version"]
    ids = [row["loan"] for row in rows]
    assert answer.json() == {
        "accepted": 3,
        "repeated": 0,
        "labels": 0,
        "prediction_ids": ids,
        "model_version": version,
    }
    found = {row["id"]: row for row in logged("predictions")}
    for row in rows:
        kept = found[row["loan"]]
        assert kept["prediction"] == row["decision"]
        assert json.loads(kept["probabilities"]) == {"no": row["p_no"], "yes": row["p_yes"]}
        assert json.loads(kept["features"]) == {name: row[name] for name in ("income", "age", "region")}
        assert kept["model_version"] == version


def test_labels_may_come_along_or_later(watching: TestClient, logged: Logged) -> None:
    first, second = loans(2)
    answer = post(watching, sent(first, label=True), sent(second)).json()
    assert (answer["accepted"], answer["labels"]) == (2, 1)
    later = {"labels": [{"prediction_id": second["loan"], "label": second["defaulted"]}]}
    assert watching.post("/feedback", json=later).json() == {"accepted": 1, "unknown": []}
    labels = {row["prediction_id"]: row["label"] for row in logged("labels")}
    assert labels == {row["loan"]: row["defaulted"] for row in (first, second)}


def test_the_same_prediction_is_logged_once(watching: TestClient, logged: Logged) -> None:
    rows = [sent(row) for row in loans(5)]
    assert post(watching, *rows[:3]).json()["repeated"] == 0
    again = post(watching, *(row | {"label": "yes"} for row in rows)).json()
    assert (again["accepted"], again["repeated"], again["labels"]) == (5, 3, 5)
    assert len(logged("predictions")) == len(logged("labels")) == 5


def test_an_id_of_something_else_is_refused_with_all_that_came_with_it(watching: TestClient, logged: Logged) -> None:
    before = one(prediction="no", probabilities={"no": 0.9, "yes": 0.1})
    assert post(watching, before).status_code == 200
    for changes in (
        {"prediction": "yes"},
        {"probabilities": {"no": 0.1, "yes": 0.9}},
        {"features": sent(loans(2)[1])["features"]},
    ):
        refused = post(watching, sent(loans(3, seed=9)[2], label=True), before | changes)
        assert refused.status_code == 409
        assert f"prediction_id '{before['prediction_id']}' belongs to another row" in refused.json()["detail"]
    assert len(logged("predictions")) == 1
    assert logged("labels") == []


@ON_SQLITE
def test_without_an_id_the_api_makes_one(watching: TestClient, logged: Logged) -> None:
    row = one()
    del row["prediction_id"]
    first, second = (post(watching, row, row).json()["prediction_ids"] for _ in range(2))
    assert len({*first, *second}) == 4 == len(logged("predictions"))


@ON_SQLITE
def test_probabilities_may_be_left_out(watching: TestClient, logged: Logged) -> None:
    row = one(probabilities=None)
    assert post(watching, row).json()["accepted"] == 1
    assert logged("predictions")[0]["probabilities"] == "{}"


@ON_SQLITE
def test_rounded_probabilities_are_made_to_add_up(watching: TestClient, logged: Logged) -> None:
    assert post(watching, one(probabilities={"yes": 0.33, "no": 0.66})).status_code == 200
    shares = json.loads(logged("predictions")[0]["probabilities"])
    assert list(shares) == ["no", "yes"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no class": ({"prediction": "maybe"}, "prediction", "must be one of the classes no, yes"),
    "a list": ({"prediction": ["no"]}, "prediction", "must be one of the classes no, yes"),
    "no prediction": ({"prediction": None}, "prediction", "must be one of the classes no, yes"),
    "no label": ({"label": 3}, "label", "the label must be one of the classes no, yes"),
    "a sum": ({"probabilities": {"no": 0.5, "yes": 0.2}}, "probabilities", "add up to 0.7, not to 1"),
    "one class": ({"probabilities": {"no": 1.0}}, "probabilities", "have none for the class 'yes'"),
    "another class": (
        {"probabilities": {"no": 0.5, "yes": 0.5, "maybe": 0}}, "probabilities", "'maybe', which is none of the classes"
    ),
    "below 0": ({"probabilities": {"no": 1.5, "yes": -0.5}}, "probabilities", "1.5 is no probability"),
    "text": ({"probabilities": {"no": "1", "yes": 0}}, "probabilities.no", "valid number"),
    "no object": ({"probabilities": [1, 0]}, "probabilities", "valid dictionary"),
    "a blank id": ({"prediction_id": "a b"}, "prediction_id", "should match pattern"),
    "a long id": ({"prediction_id": "x" * 129}, "prediction_id", "should match pattern"),
    "a field": ({"predicted": "no"}, "predicted", "Extra inputs"),
    "a feature": ({"features": {"income": 1, "age": 2, "region": "west", "sex": "f"}}, "features.sex", "Extra inputs"),
    "a feature's type": ({"features": {"income": "1", "age": 2, "region": "west"}}, "features.income", "valid number"),
    "features": ({"features": {}}, "features.income", "Field required"),
}  # fmt: skip


@ON_SQLITE
def test_what_is_wrong_is_refused_and_named(watching: TestClient, logged: Logged) -> None:
    for changes, field, said in REFUSED.values():
        answer = post(watching, one(prediction_id="fine"), one(prediction_id="other") | changes)
        assert answer.status_code == 422, answer.text
        first = answer.json()["errors"][0]
        assert first["field"] == f"predictions[1].{field}"
        assert said in first["message"]
    assert logged("predictions") == []


@ON_SQLITE
def test_an_id_twice_in_one_call_is_refused(watching: TestClient) -> None:
    answer = post(watching, one(), one())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == "id_twice"


@ON_SQLITE
def test_the_number_of_predictions_is_limited(watching: TestClient) -> None:
    for count, kind in ((0, "too_few_rows"), (101, "too_many_rows")):
        answer = post(watching, *[one(prediction_id=str(number)) for number in range(count)])
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["type"] == kind


@ON_SQLITE
def test_many_errors_in_one_prediction_are_few_in_the_answer(watching: TestClient) -> None:
    many = range(3_000)
    for changes in (
        {"features": {f"f{number}": 1 for number in many}},
        {"probabilities": {f"c{number}": "x" for number in many}},
        {f"x{number}": 1 for number in many},
    ):
        answer = post(watching, one() | changes)
        assert answer.status_code == 422
        assert 0 < len(answer.json()["errors"]) <= 100
        assert len(answer.content) < 20_000


def test_a_number_is_logged(numbers: TestClient, logged: Logged) -> None:
    row = losses(1)[0]
    answer = numbers.post("/models/losses/log", json={"predictions": [sent(row, label=True, number=True)]})
    assert answer.status_code == 200, answer.text
    assert float(logged("predictions")[0]["prediction"]) == row["loss"]
    assert float(logged("labels")[0]["label"]) == row["lost"]
    for wrong in ({"prediction": "12"}, {"prediction": None}, {"probabilities": {"a": 1}}, {"label": "x"}):
        body = {"predictions": [sent(row, number=True) | wrong]}
        assert numbers.post("/models/losses/log", json=body).status_code == 422
    for text in ("NaN", "Infinity", "1e999"):
        body = json.dumps({"predictions": [sent(row, number=True) | {"prediction": "TEXT"}]}).replace('"TEXT"', text)
        headers = {"Content-Type": "application/json"}
        assert numbers.post("/models/losses/log", content=body, headers=headers).status_code == 422


@ON_SQLITE
def test_a_watched_model_does_not_predict_and_says_where_to_send_predictions(watching: TestClient) -> None:
    features = one()["features"]
    for path, body in (("/predict", features), ("/predict/batch", {"rows": [features]})):
        answer = watching.post(path, json=body)
        assert answer.status_code == 409
        assert answer.json()["detail"] == (
            "the model loans is served elsewhere and only watched here; send its predictions to /models/loans/log"
        )
        assert path not in watching.get("/openapi.json").json()["paths"]


@ON_SQLITE
def test_its_card_says_that_it_is_served_elsewhere(watching: TestClient) -> None:
    card = watching.get("/model").json()
    assert card["engine"] == "elsewhere"
    assert card["answer_columns"]["prediction"] == "decision"
    assert watching.get("/health/ready").status_code == 200
    assert "served elsewhere, test accuracy" in watching.get("/").text
    assert 'engine="elsewhere"' in watching.get("/metrics").text


@ON_SQLITE
def test_predictions_of_a_served_model_may_be_logged_too(client: TestClient, setosa: Any, logged: Logged) -> None:
    name = client.get("/model").json()["name"]
    body = {"predictions": [{"features": setosa, "prediction": "setosa", "prediction_id": "night-1"}]}
    assert client.post(f"/models/{name}/log", json=body).json()["prediction_ids"] == ["night-1"]
    assert [row["id"] for row in logged("predictions")] == ["night-1"]


@ON_SQLITE
def test_of_several_models_each_has_its_own_ids(
    settings: Settings, watched_artifact: Callable[[str], Path], tmp_path: Path, logged: Logged
) -> None:
    for name, kind in (("night", "classes"), ("losses", "numbers")):
        shutil.copytree(watched_artifact(kind), tmp_path / "models" / name)
    several = settings.model_copy(update={"model_dir": None, "models_dir": tmp_path / "models"})
    loan, loss = (rows(1)[0] for rows in (loans, losses))
    with TestClient(create_app(several), raise_server_exceptions=False) as client:
        for _ in range(2):
            for name, body in (("night", sent(loan, label=True)), ("losses", sent(loss, label=True, number=True))):
                answer = client.post(f"/models/{name}/log", json={"predictions": [body]})
                assert answer.json()["prediction_ids"] == ["0-0000000"], answer.text
        refused = client.post("/models/night/predict", json=one()["features"])
        assert "send its predictions to /models/night/log" in refused.json()["detail"]
        assert {"/models/night/log", "/models/losses/log"} <= client.get("/openapi.json").json()["paths"].keys()
    answers = {row["model_id"]: row["prediction"] for row in logged("predictions")}
    assert sorted(answers.values()) == sorted([loan["decision"], str(loss["loss"])])
    assert {row["model_id"]: row["label"] for row in logged("labels")}.keys() == answers.keys()


@ON_SQLITE
def test_a_new_reference_is_taken_up_by_reload(
    settings: Settings, watched_artifact: Callable[[str], Path], tmp_path: Path, logged: Logged
) -> None:
    folder = shutil.copytree(watched_artifact("classes"), tmp_path / "loans")
    with TestClient(create_app(settings.model_copy(update={"model_dir": folder}))) as client:
        assert post(client, one()).status_code == 200
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"version": "20270101T000000Z-00000000"}))
        assert client.post("/model/reload").json()["status"] == "reloaded"
        again = post(client, one(), sent(loans(2)[1])).json()
        assert (again["repeated"], again["model_version"]) == (1, "20270101T000000Z-00000000")
    versions = {row["id"]: row["model_version"] for row in logged("predictions")}
    assert versions == {"0-0000000": manifest["version"], "0-0000001": "20270101T000000Z-00000000"}


@ON_SQLITE
def test_another_model_is_not_here(watching: TestClient) -> None:
    answer = watching.post("/models/iris/log", json={"predictions": [one()]})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no model 'iris'; the models are: loans"


@ON_SQLITE
def test_the_call_needs_the_scope_predict(caller: TestClient, bearer: Callable[[str], Bearer], setosa: Any) -> None:
    body = {"predictions": [{"features": setosa, "prediction": "setosa"}]}
    name = caller.get("/model", headers=bearer("read")).json()["name"]
    assert caller.post(f"/models/{name}/log", json=body).status_code == 401
    assert caller.post(f"/models/{name}/log", json=body, headers=bearer("feedback")).status_code == 403
    assert caller.post(f"/models/{name}/log", json=body, headers=bearer("predict")).status_code == 200


@ON_SQLITE
def test_logged_rows_are_counted(watching: TestClient) -> None:
    post(watching, *(sent(row, label=True) for row in loans(4)))
    post(watching, *(sent(row, label=True) for row in loans(6)))
    shown = watching.get("/metrics").text
    assert "vigie_predicted_rows_total 6.0" in shown
    assert post(watching, one(prediction="maybe")).status_code == 422
    assert 'vigie_rejected_requests_total{reason="unknown_class"} 1.0' in watching.get("/metrics").text
