from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.logging_rows import Logged


@pytest.fixture
def prediction_id(client: TestClient, setosa: dict[str, Any]) -> str:
    return str(client.post("/predict", json=setosa).json()["prediction_id"])


def send(client: TestClient, *labels: tuple[str, Any]) -> Any:
    return client.post("/feedback", json={"labels": [{"prediction_id": key, "label": label} for key, label in labels]})


def test_a_label_of_a_known_prediction_is_stored(client: TestClient, prediction_id: str, logged: Logged) -> None:
    answer = send(client, (prediction_id, "versicolor"))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "unknown": []})
    (row,) = logged("labels")
    assert (row["prediction_id"], row["label"]) == (prediction_id, "versicolor")


def test_an_unknown_prediction_id_is_reported_not_stored(
    client: TestClient, prediction_id: str, logged: Logged
) -> None:
    answer = send(client, (prediction_id, "setosa"), ("never-made", "setosa"))
    assert answer.json() == {"accepted": 1, "unknown": ["never-made"]}
    assert len(logged("labels")) == 1


def test_repeating_a_label_changes_nothing(client: TestClient, prediction_id: str, logged: Logged) -> None:
    send(client, (prediction_id, "setosa"))
    before = logged("labels")
    assert send(client, (prediction_id, "setosa")).json() == {"accepted": 1, "unknown": []}
    assert logged("labels") == before


def test_a_later_label_replaces_an_earlier_one_and_arrives_anew(
    client: TestClient, prediction_id: str, logged: Logged
) -> None:
    send(client, (prediction_id, "setosa"))
    (first,) = logged("labels")
    send(client, (prediction_id, "virginica"))
    (second,) = logged("labels")
    assert second["label"] == "virginica"
    assert second["arrived_at"] > first["arrived_at"]


def test_of_two_labels_in_one_request_the_last_one_stays(
    client: TestClient, prediction_id: str, logged: Logged
) -> None:
    assert send(client, (prediction_id, "setosa"), (prediction_id, "virginica")).json()["accepted"] == 2
    assert [row["label"] for row in logged("labels")] == ["virginica"]


@pytest.mark.parametrize("label", ["rose", "", 1, True, "Setosa"])
def test_a_label_outside_the_classes_is_refused_and_nothing_stored(
    client: TestClient, prediction_id: str, logged: Logged, label: object
) -> None:
    answer = send(client, (prediction_id, "setosa"), (prediction_id, label))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "labels[1].label"
    assert "setosa, versicolor, virginica" in answer.json()["detail"]
    assert logged("labels") == []


@pytest.mark.parametrize("body", [{}, {"labels": [{}]}, {"labels": "all"}, {"labels": []}, {"labels": [], "x": 1}])
def test_feedback_of_another_shape_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/feedback", json=body).status_code == 422


def test_too_many_labels_are_refused(client: TestClient, prediction_id: str) -> None:
    answer = send(client, *[(prediction_id, "setosa")] * 101)
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "too_many_rows")


def test_what_swagger_ui_fills_in_could_be_a_label(client: TestClient) -> None:
    shown = client.get("/openapi.json").json()["components"]["schemas"]["Label"]["properties"]
    example = {name: field["examples"][0] for name, field in shown.items()}
    answer = client.post("/feedback", json={"labels": [example]})
    assert (answer.status_code, answer.json()["unknown"]) == (200, [example["prediction_id"]])
