import socket
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from tests.in_process import serving
from tests.logging_rows import Logged

PROBLEM = "application/problem+json"


def test_a_prediction_is_answered_with_its_id_and_probabilities(client: TestClient, setosa: dict[str, Any]) -> None:
    answer = client.post("/predict", json=setosa)
    assert answer.status_code == 200
    body = answer.json()
    assert body["prediction"] == "setosa"
    assert set(body["probabilities"]) == {"setosa", "versicolor", "virginica"}
    assert sum(body["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert body["model_version"] == client.get("/model").json()["version"]


def test_an_answered_prediction_is_in_the_log(client: TestClient, setosa: dict[str, Any], logged: Logged) -> None:
    body = client.post("/predict", json=setosa).json()
    (row,) = logged("predictions")
    assert row["id"] == body["prediction_id"]
    assert orjson.loads(row["features"]) == setosa
    assert orjson.loads(row["probabilities"]) == body["probabilities"]
    assert row["prediction"] == "setosa"
    assert row["model_version"] == body["model_version"]


def test_a_batch_is_answered_in_its_order_and_logged(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    virginica = {"sepal_length": 7.2, "sepal_width": 3.2, "petal_length": 6.0, "petal_width": 2.3}
    answer = client.post("/predict/batch", json={"rows": [setosa, virginica, setosa]})
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    assert [item["prediction"] for item in predictions] == ["setosa", "virginica", "setosa"]
    assert {row["id"] for row in logged("predictions")} == {item["prediction_id"] for item in predictions}


def test_a_batch_with_one_bad_row_is_refused_whole(client: TestClient, setosa: dict[str, Any], logged: Logged) -> None:
    answer = client.post("/predict/batch", json={"rows": [setosa, {**setosa, "petal_width": "wide"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "rows[1].petal_width"
    assert logged("predictions") == []


def test_a_null_feature_is_predicted_and_logged_as_null(
    client: TestClient, setosa: dict[str, Any], logged: Logged
) -> None:
    assert client.post("/predict", json={**setosa, "petal_width": None}).status_code == 200
    assert orjson.loads(logged("predictions")[0]["features"])["petal_width"] is None


def test_a_value_far_outside_training_is_accepted(client: TestClient, setosa: dict[str, Any]) -> None:
    assert client.post("/predict", json={**setosa, "petal_width": 1e6}).status_code == 200


def test_an_integer_is_a_number(client: TestClient, setosa: dict[str, Any]) -> None:
    assert client.post("/predict", json={**setosa, "petal_width": 1}).status_code == 200


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"petal_width": "0.2"}, "petal_width", "float_type"),
        ({"petal_width": True}, "petal_width", "float_type"),
        ({"petal_width": [0.2]}, "petal_width", "float_type"),
        ({"petal_colour": "blue"}, "petal_colour", "extra_forbidden"),
    ],
)
def test_a_wrong_field_is_named(
    client: TestClient, setosa: dict[str, Any], change: dict[str, Any], field: str, kind: str
) -> None:
    answer = client.post("/predict", json=setosa | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert body["errors"] == [{"field": field, "message": body["errors"][0]["message"], "type": kind}]
    assert field in body["detail"]


def test_a_missing_field_is_named(client: TestClient, setosa: dict[str, Any]) -> None:
    del setosa["sepal_width"]
    answer = client.post("/predict", json=setosa)
    assert answer.status_code == 422
    assert answer.json()["errors"][0] == {"field": "sepal_width", "message": "Field required", "type": "missing"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "1" * 5000])
def test_a_number_that_is_not_finite_is_refused(client: TestClient, setosa: dict[str, Any], number: str) -> None:
    body = orjson.dumps(setosa).decode().replace("0.2", number)
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 20_000])
def test_a_body_that_is_no_row_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["detail"]


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/predict", content=b" " * 50_001, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM
    assert "50,000 bytes" in answer.json()["detail"]


def test_a_client_that_sends_a_large_body_before_it_reads_gets_the_answer(settings: Settings) -> None:
    with serving(create_app(settings)) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(b"Content-Length: 350000\r\n\r\n" + b" " * 350_000)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"50,000 bytes" in answer


def test_a_body_that_grows_over_the_limit_is_refused(client: TestClient) -> None:
    chunks = (b" " * 10_000 for _ in range(6))
    answer = client.post("/predict", content=chunks, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(("rows", "kind"), [(101, "too_many_rows"), (0, "too_few_rows")])
def test_a_batch_has_a_size(client: TestClient, setosa: dict[str, Any], rows: int, kind: str) -> None:
    answer = client.post("/predict/batch", json={"rows": [setosa] * rows})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == kind


def test_an_unknown_path_is_a_problem_too(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


def test_a_wrong_method_is_a_problem_too(client: TestClient) -> None:
    answer = client.get("/predict")
    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
    assert answer.headers["allow"] == "POST"


def test_refused_requests_are_counted_by_a_bounded_reason(client: TestClient, setosa: dict[str, Any]) -> None:
    client.post("/predict", json={**setosa, "petal_width": "wide"})
    client.post("/predict", json={**setosa, "petal_colour": "blue"})
    metrics = client.get("/metrics").text
    assert 'vigie_rejected_requests_total{reason="float_type"} 1.0' in metrics
    assert 'vigie_rejected_requests_total{reason="extra_forbidden"} 1.0' in metrics
