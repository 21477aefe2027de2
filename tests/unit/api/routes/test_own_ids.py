"""Predictions with ids of the callers' own: the same id with the same row is answered the same again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from model.artifact.store import read_manifest
from tests.logging_rows import Logged
from tests.retraining import retrain

VIRGINICA = {"sepal_length": 7.2, "sepal_width": 3.2, "petal_length": 6.0, "petal_width": 2.3}
ODD_ID = "Az09._~:@/+=-"
PATTERN = "[A-Za-z0-9._~:@/+=-]{1,128}"


@pytest.fixture
def folder(tmp_path: Path, iris_artifact: Path) -> Path:
    """A model folder of the test's own, which holds version v1."""
    retrain(iris_artifact, tmp_path / "model", "v1")
    return tmp_path / "model"


@pytest.fixture
def reloading(settings: Settings, folder: Path) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update={"model_dir": folder}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def one(client: TestClient, prediction_id: str, row: dict[str, Any]) -> Any:
    return client.post("/predict", params={"prediction_id": prediction_id}, json=row)


def batch(client: TestClient, ids: Any, *rows: dict[str, Any]) -> Any:
    return client.post("/predict/batch", json={"rows": list(rows), "prediction_ids": ids})


def counted(client: TestClient) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("vigie_predicted_rows_total")).rsplit(" ", 1)[1])


def test_the_same_id_with_the_same_row_is_answered_the_same_and_logged_once(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    first = one(client, "order-17", setosa)
    assert first.status_code == 200
    assert first.json()["prediction_id"] == "order-17"
    again = [one(client, "order-17", setosa) for _ in range(3)]
    assert {answer.content for answer in again} == {first.content}
    (row,) = logged("predictions")
    assert (row["id"], row["prediction"]) == ("order-17", "setosa")
    assert counted(client) == 1


def test_with_another_row_it_is_refused_by_its_name_and_nothing_changes(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    first = one(client, "order-17", setosa)
    refused = one(client, "order-17", VIRGINICA)
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert refused.json()["detail"] == (
        "the prediction_id 'order-17' belongs to another row that was sent before; "
        "send that row again, or this one with an id of its own"
    )
    assert len(logged("predictions")) == 1
    assert one(client, "order-17", setosa).content == first.content


def test_a_row_in_another_order_and_with_other_digits_is_the_same_row(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    first = client.post("/predict?prediction_id=a", json=setosa | {"sepal_width": 3})
    body = json.dumps(dict(reversed((setosa | {"sepal_width": 3}).items()))).replace(": 3,", ": 3.000,")
    assert "3.000" in body
    again = client.post("/predict?prediction_id=a", content=body, headers={"content-type": "application/json"})
    assert again.content == first.content
    assert len(logged("predictions")) == 1


def test_the_logged_response_stays_when_another_version_serves(
    reloading: TestClient, folder: Path, setosa: dict[str, Any], logged: Logged
) -> None:
    first, together = one(reloading, "a", setosa), batch(reloading, ["b", "c"], setosa, VIRGINICA)
    assert first.json()["model_version"] == "v1"
    retrain(folder, folder, "v2")
    assert reloading.post("/model/reload").status_code == 200
    assert one(reloading, "d", setosa).json()["model_version"] == "v2"
    assert one(reloading, "a", setosa).content == first.content
    assert batch(reloading, ["b", "c"], setosa, VIRGINICA).content == together.content
    assert len(logged("predictions")) == 4


def test_a_version_that_refuses_the_row_still_answers_what_was_logged(
    reloading: TestClient, settings: Settings, folder: Path, setosa: dict[str, Any]
) -> None:
    first, together = one(reloading, "a", setosa), batch(reloading, ["a", "b"], setosa, VIRGINICA)
    features = read_manifest(folder).features
    closed = (features[0].model_copy(update={"closed": True}), *features[1:])
    retrain(folder, folder, "v2", features=closed)
    app = create_app(settings.model_copy(update={"model_dir": folder}))  # as after a restart, with the same log
    with TestClient(app, raise_server_exceptions=False) as later:
        assert one(later, "c", setosa).status_code == 422
        assert one(later, "a", VIRGINICA).status_code == 422
        assert batch(later, ["a", "c"], setosa, VIRGINICA).status_code == 422
        assert one(later, "a", setosa).content == first.content
        assert batch(later, ["a", "b"], setosa, VIRGINICA).content == together.content
        assert counted(later) == 0


def test_a_number_is_answered_the_same_again(settings: Settings, diabetes_artifact: Path) -> None:
    with TestClient(create_app(settings.model_copy(update={"model_dir": diabetes_artifact}))) as client:
        row = {one["name"]: one["example"] for one in client.get("/model").json()["features"]}
        first = one(client, "a", row)
        assert first.status_code == 200
        assert one(client, "a", row).content == first.content


def test_a_batch_that_repeats_some_rows_logs_the_others(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    first = one(client, "a", setosa)
    answer = batch(client, ["b", "a"], VIRGINICA, setosa)
    found = answer.json()["predictions"]
    assert [item["prediction_id"] for item in found] == ["b", "a"]
    assert found[1] == first.json()
    assert sorted(row["id"] for row in logged("predictions")) == ["a", "b"]
    assert counted(client) == 2
    assert batch(client, ["b", "a"], VIRGINICA, setosa).content == answer.content


def test_of_a_batch_with_an_id_in_use_nothing_is_logged(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    one(client, "a", setosa)
    refused = batch(client, ["b", "a", "c"], setosa, VIRGINICA, setosa)
    assert refused.status_code == 409
    assert "'a'" in refused.json()["detail"]
    assert [row["id"] for row in logged("predictions")] == ["a"]


@pytest.mark.parametrize(
    ("ids", "field", "text"),
    [
        (["a"], "prediction_ids", "1 ids for 2 rows"),
        (["a", "b", "c"], "prediction_ids", "3 ids for 2 rows"),
        ([], "prediction_ids", "0 ids for 2 rows"),
        (["a", "a"], "prediction_ids[1]", "'a' is the id of row 0 already"),
        (["a", "b c"], "prediction_ids[1]", PATTERN),
        (["a", ""], "prediction_ids[1]", PATTERN),
        (["a", "b\n"], "prediction_ids[1]", PATTERN),
        (["a", "é"], "prediction_ids[1]", PATTERN),
        (["a", "x" * 129], "prediction_ids[1]", PATTERN),
        (["a", None], "prediction_ids[1]", "valid string"),
        (["a", 7], "prediction_ids[1]", "valid string"),
        ("ab", "prediction_ids", "valid list"),
    ],
)
def test_bad_ids_of_a_batch_are_named(client: TestClient, logged: Logged, ids: Any, field: str, text: str) -> None:
    refused = batch(client, ids, VIRGINICA, VIRGINICA)
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == field
    assert text in error["message"]
    assert logged("predictions") == []


@pytest.mark.parametrize("query", ["prediction_id=", "prediction_id=a%20b", "prediction_id=a+b", "prediction_id=%00"])
def test_a_bad_id_in_an_address_is_named_with_the_pattern(
    client: TestClient, setosa: dict[str, Any], query: str
) -> None:
    refused = client.post(f"/predict?{query}", json=setosa)
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == "prediction_id"
    assert PATTERN in error["message"]
    assert "%2B" in error["message"]


def test_ids_in_the_wrong_place_are_not_overlooked(client: TestClient, setosa: dict[str, Any], logged: Logged) -> None:
    refusals = [
        client.post("/predict?prediction_id=a&prediction_id=b", json=setosa),
        client.post("/predict/batch?prediction_id=a", json={"rows": [setosa]}),
        client.post("/predict", json=setosa | {"prediction_id": "a"}),
        client.post("/predict/batch", json={"rows": [setosa | {"prediction_id": "a"}]}),
    ]
    assert [answer.status_code for answer in refusals] == [422] * 4
    assert all("prediction_id" in answer.json()["errors"][0]["field"] for answer in refusals)
    assert logged("predictions") == []


def test_null_means_no_ids_of_its_own(client: TestClient, setosa: dict[str, Any]) -> None:
    (found,) = batch(client, None, setosa).json()["predictions"]
    assert len(found["prediction_id"]) == 36


@pytest.mark.parametrize("prediction_id", [ODD_ID, "1:a", "12:", "x" * 36])
def test_every_allowed_id_comes_back_and_takes_a_label(
    client: TestClient, setosa: dict[str, Any], logged: Logged, prediction_id: str
) -> None:
    first = one(client, prediction_id, setosa)
    assert first.json()["prediction_id"] == prediction_id
    assert one(client, prediction_id, setosa).content == first.content
    labels = [{"prediction_id": prediction_id, "label": "setosa"}, {"prediction_id": "2:nobody", "label": "setosa"}]
    receipt = client.post("/feedback", json={"labels": labels}).json()
    assert receipt == {"accepted": 1, "unknown": ["2:nobody"]}
    (label,) = logged("labels")
    assert label["prediction_id"] == logged("predictions")[0]["id"]
    refused = one(client, prediction_id, VIRGINICA)
    assert refused.status_code == 409
    assert repr(prediction_id) in refused.json()["detail"]


@pytest.mark.parametrize("ids_first", [False, True])
def test_a_large_batch_has_its_ids_before_or_after_its_rows(
    settings: Settings, setosa: dict[str, Any], ids_first: bool
) -> None:
    rows, ids = [setosa] * 5_000, [f"id-{n}" for n in range(5_000)]
    body = {"prediction_ids": ids, "rows": rows} if ids_first else {"rows": rows, "prediction_ids": ids}
    sizes = {"max_batch_rows": 5_000, "max_body_bytes": 2_000_000}
    with TestClient(create_app(settings.model_copy(update=sizes))) as client:
        answer = client.post("/predict/batch", json=body)
        assert answer.status_code == 200, answer.text
        assert [item["prediction_id"] for item in answer.json()["predictions"]] == ids
        assert client.post("/predict/batch", json=body).content == answer.content
        assert counted(client) == 5_000
        body["prediction_ids"] = [*ids[:-1], "no id"]
        refused = client.post("/predict/batch", json=body)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "prediction_ids[4999]"


def test_the_schema_shows_ids(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    (parameter,) = schema["paths"]["/predict"]["post"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("prediction_id", "query", False)
    assert PATTERN in json.dumps(parameter)
    assert "prediction_ids" in schema["components"]["schemas"]["Batch"]["properties"]
    for path in ("/predict", "/predict/batch"):
        assert "order-17" in json.dumps(schema["paths"][path]["post"]["responses"]["409"])
