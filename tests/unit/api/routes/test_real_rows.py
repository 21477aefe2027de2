"""Rows as people have them: columns that training dropped, text as the file has it, and labels in any JSON type."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.serving.reload import schema_differences
from api.settings import Settings
from model.artifact.manifest import ClassifierManifest
from model.artifact.store import read_manifest
from model.data.csv_file import CsvColumns, read_columns
from model.data.encoding import rows_of
from model.data.schema_file import SchemaFile
from model.serving.predictor import load_predictor
from model.train import main
from tests.logging_rows import Logged
from tests.retraining import retrain

ROWS = 600


def customer(i: int) -> dict[str, str]:
    city = i % 7 if i % 2 else i // 2 % 230
    churns = (i * 13 % 90 < 40) ^ (i % 11 == 0)
    return {
        "customerID": f"{i:04}-ABC",
        "joined": f"2024-{1 + i % 12:02}-{1 + i % 28:02}",
        "price": f"${1 + i * 13 % 90},{i * 37 % 1000:03}.50",
        "share": f"{i % 50}%",
        "called": f"{i % 24:02}:30",
        "tenure": "-" if i % 7 == 1 else str(i * 17 % 70),
        "kind": ("Retail sale", " Retail sale ", "Wholesale", "NA", "")[i % 5],
        "city": f"town {city}",
        "region": "north" if i % 3 else "south",
        "churn": "1.0" if churns else "0.0",
    }


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("customers") / "customers.csv"
    pd.DataFrame([customer(i) for i in range(ROWS)]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def columns(customers: Path) -> CsvColumns:
    return read_columns(customers, "churn", SchemaFile(metadata=("region", "sent_by")))


@pytest.fixture(scope="module")
def churn_artifact(customers: Path) -> Path:
    schema = customers.with_name("customers.yaml")
    schema.write_text("metadata: [region, sent_by]\n", encoding="utf-8")
    out = customers.with_name("model")
    given = ["--csv", str(customers), "--target", "churn", "--schema", str(schema), "--out", str(out)]
    assert main([*given, "--estimator", "logistic_regression", "--alarms", "rows"]) == 0
    return out


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Rows are the same text in every database."""
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def client(settings: Settings, churn_artifact: Path) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update={"model_dir": churn_artifact}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def raw_rows(customers: Path) -> list[dict[str, Any]]:
    """Return the rows as pandas has them, with null for its NaN."""
    frame = pd.read_csv(customers).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def predict(client: TestClient, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = [client.post("/predict/batch", json={"rows": rows[at : at + 100]}) for at in range(0, len(rows), 100)]
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    return [one for answer in answers for one in answer.json()["predictions"]]


def test_a_row_of_the_file_is_answered_as_training_read_it(
    client: TestClient, customers: Path, columns: CsvColumns, churn_artifact: Path
) -> None:
    dataset, predictor = columns.dataset(), load_predictor(churn_artifact)
    expected = predictor.predict(rows_of(dataset.frame, dataset.features))
    answers = predict(client, raw_rows(customers))
    assert len(answers) == ROWS
    served = [[answer["probabilities"][name] for name in ("0", "1")] for answer in answers]
    np.testing.assert_allclose(served, expected, atol=2e-6)
    as_text = pd.read_csv(customers, dtype=str, keep_default_na=False).to_dict("records")
    features = {feature.name for feature in dataset.features}
    again = predict(client, [{name: row[name] for name in features} for row in as_text])
    assert [one["probabilities"] for one in again] == [one["probabilities"] for one in answers]


def test_metadata_is_logged_with_the_row_and_changes_no_answer(
    client: TestClient, customers: Path, churn_artifact: Path, logged: Logged
) -> None:
    manifest = read_manifest(churn_artifact)
    assert manifest.metadata == ("customerID", "joined", "region", "churn", "sent_by")
    row = raw_rows(customers)[0]
    alone = {name: row[name] for name in manifest.feature_names}
    bare, whole = predict(client, [alone, row | {"sent_by": 2**63 - 1, "joined": None}])
    assert whole["probabilities"] == bare["probabilities"]
    first, second = (orjson.loads(one["features"]) for one in logged("predictions"))
    assert set(first) == set(manifest.feature_names)
    assert second == first | {
        "customerID": "0000-ABC",
        "joined": None,
        "region": "south",
        "churn": row["churn"],
        "sent_by": 2**63 - 1,
    }
    assert (first["price"], first["called"], first["share"]) == (1_000.5, 0.5, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer": "0000-ABC"}, "customer"),
        ({"customerID": ["0000-ABC"]}, "customerID"),
        ({"customerID": {"a": 1}}, "customerID"),
        ({"customerID": "x" * 1_001}, "customerID"),
        ({"sent_by": float("nan")}, "sent_by"),
        ({"sent_by": float("inf")}, "sent_by"),
        ({"price": "about $5"}, "price"),
        ({"price": True}, "price"),
        ({"share": "NaN%"}, "share"),
        ({"tenure": "inf"}, "tenure"),
        ({"called": "25:00"}, "called"),
        ({"kind": 5}, "kind"),
    ],
)
def test_what_a_row_may_not_hold_is_refused_by_name(
    client: TestClient, customers: Path, logged: Logged, change: dict[str, Any], field: str
) -> None:
    body = orjson.dumps(raw_rows(customers)[0] | change) if field != "sent_by" else None
    if body is None:
        text = orjson.dumps(raw_rows(customers)[0]).decode()[:-1]
        body = f'{text},"sent_by":{"NaN" if change["sent_by"] != change["sent_by"] else "Infinity"}}}'.encode()
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert field in {error["field"].split(".")[0] for error in answer.json()["errors"]}
    assert logged("predictions") == []


def test_a_huge_integer_rides_along_as_a_number(client: TestClient, customers: Path, logged: Logged) -> None:
    predict(client, [raw_rows(customers)[0] | {"sent_by": 10**30}])
    assert orjson.loads(logged("predictions")[0]["features"])["sent_by"] == 1e30


def test_text_that_training_read_as_missing_is_missing(client: TestClient, customers: Path) -> None:
    row = raw_rows(customers)[0]
    for column, texts in {"kind": ["", " ", "NA", "n/a", "?"], "tenure": ["-", " - ", "", "nan"]}.items():
        answers = predict(client, [row | {column: None}, *({**row, column: text} for text in texts)])
        assert len({one["probabilities"]["1"] for one in answers}) == 1, column
    trimmed, spaced = predict(client, [row | {"kind": "Retail sale"}, row | {"kind": "  Retail sale\t"}])
    assert trimmed["probabilities"] == spaced["probabilities"]


def test_rare_values_and_new_ones_are_one_category_in_answers(client: TestClient, customers: Path) -> None:
    row = raw_rows(customers)[0]
    cities = ["town of no row", "town of another", "other", " other "]
    assert len({one["probabilities"]["1"] for one in predict(client, [{**row, "city": city} for city in cities])}) == 1


def test_the_schema_of_requests_says_what_is_taken(client: TestClient) -> None:
    fields = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["properties"]
    assert {one.get("type") for one in fields["price"]["anyOf"]} == {"number", "null", "string"}
    assert "in $" in fields["price"]["description"]
    assert "any other value counts as other" in fields["city"]["description"]
    assert fields["customerID"]["description"] == "Logged with the row, and never given to the model."
    example = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["examples"][0]
    assert "customerID" not in example
    assert predict(client, [example])


@pytest.mark.parametrize("label", [1, 1.0, "1", "1.0", " 1 "])
def test_a_class_that_is_a_whole_number_is_sent_in_any_way(
    client: TestClient, customers: Path, logged: Logged, label: object
) -> None:
    key = predict(client, raw_rows(customers)[:1])[0]["prediction_id"]
    answer = client.post("/feedback", json={"labels": [{"prediction_id": key, "label": label}]})
    assert (answer.status_code, logged("labels")[0]["label"]) == (200, "1"), answer.text


@pytest.mark.parametrize("label", [2, 0.5, "yes", True, None, [1], {"a": 1}])
def test_another_label_is_refused_once_with_the_classes(client: TestClient, logged: Logged, label: object) -> None:
    answer = client.post("/feedback", json={"labels": [{"prediction_id": "p", "label": label}]})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"], error["type"]) == (422, "labels[0].label", "unknown_class")
    assert "of the classes 0, 1" in error["message"]
    assert logged("labels") == []


def test_a_model_with_other_metadata_is_reloaded_and_its_columns_ride_along(
    settings: Settings, churn_artifact: Path, customers: Path, tmp_path: Path, logged: Logged
) -> None:
    folder = tmp_path / "model"
    first = retrain(churn_artifact, folder, "v1", metadata=())
    row = raw_rows(customers)[0]
    bare = {name: row[name] for name in first.feature_names}
    with TestClient(create_app(settings.model_copy(update={"model_dir": folder}))) as client:
        assert client.post("/predict", json=bare | {"region": "east"}).status_code == 422
        retrain(churn_artifact, folder, "v2", metadata=("region",))
        assert client.post("/model/reload").json()["status"] == "reloaded"
        assert client.post("/predict", json=bare | {"region": "east"}).status_code == 200
        assert orjson.loads(logged("predictions")[0]["features"])["region"] == "east"
        assert client.post("/predict", json=row).status_code == 422, "v2 knows no customerID"
    assert schema_differences(first, first.model_copy(update={"metadata": ("a", "b")})) == []


def test_an_artifact_of_before_reads_missing_words_and_has_no_metadata(iris_artifact: Path) -> None:
    old = read_manifest(iris_artifact).model_dump()
    del old["metadata"]
    for feature in old["features"]:
        for name in ("other", "notation", "missing"):
            del feature[name]
    manifest = ClassifierManifest.model_validate(old)
    assert manifest.metadata == ()
    assert manifest.features[0].missing is None
