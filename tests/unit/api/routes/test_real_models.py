"""The API with a model that has a rule of its own, knows no unseen category, and cannot take every row."""

from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from api.settings import Settings
from model.adopt import main as adopt
from model.artifact.store import read_manifest
from tests.logging_rows import Logged

COLUMNS = ["age", "income", "city"]


class OneOfTwo(TransformerMixin, BaseEstimator):
    """Cannot take a row that has neither an age nor an income."""

    def fit(self, rows: pd.DataFrame, _labels: object = None) -> Self:
        self.feature_names_in_ = np.array(list(rows))
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        if (rows["age"].isna() & rows["income"].isna()).any():
            raise ValueError("neither age nor income")
        return rows


def people(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.normal(40, 12, rows), "income": rng.normal(3, 1, rows)}).round(2)
    frame["city"] = rng.choice(["Lyon", "Nice"], rows)
    return frame.assign(buys=np.where(frame["age"] + rng.normal(0, 8, rows) > 45, "yes", "no"))


@pytest.fixture(scope="module")
def theirs() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encode = make_column_transformer((numbers, COLUMNS[:2]), (OneHotEncoder(), COLUMNS[2:]))
    model = FixedThresholdClassifier(make_pipeline(OneOfTwo(), encode, LogisticRegression()), threshold=0.25)
    rows = people(300, 1)
    return model.fit(rows[COLUMNS], (rows["buys"] == "yes").astype(int))


@pytest.fixture(scope="module")
def artifact(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    joblib.dump(theirs, folder / "theirs.joblib")
    rows = people(200, 2)
    rows.assign(buys=(rows["buys"] == "yes").astype(int)).to_csv(folder / "later.csv", index=False)
    files = ["--pipeline", str(folder / "theirs.joblib"), "--reference", str(folder / "later.csv"), "--target", "buys"]
    assert adopt([*files, "--refuse-unseen", "--alarms", "rows", "--out", str(folder / "model")]) == 0
    return folder / "model"


@pytest.fixture
def settings(settings: Settings, artifact: Path) -> Settings:
    return settings.model_copy(update={"model_dir": artifact})


def row(**values: object) -> dict[str, object]:
    return {"age": 41.0, "income": 3.0, "city": "Nice", **values}


def test_the_answer_is_what_the_model_itself_predicts_and_so_is_the_log(
    client: TestClient, logged: Logged, theirs: Any
) -> None:
    rows = people(100, 3)[COLUMNS]
    answers = client.post("/predict/batch", json={"rows": rows.to_dict("records")}).json()["predictions"]
    expected = theirs.predict(rows).tolist()
    assert [answer["prediction"] for answer in answers] == expected
    assert any(answer["prediction"] == 1 and answer["probabilities"]["1"] < 0.5 for answer in answers)
    assert [entry["prediction"] for entry in logged("predictions")] == [str(one) for one in expected]
    card = client.get("/model").json()
    assert card["answer"] == "own predict"
    assert [(one["name"], one["closed"]) for one in card["features"]] == [
        ("age", False),
        ("income", False),
        ("city", True),
    ]


def test_a_category_that_the_model_does_not_know_is_refused_with_its_field(client: TestClient, logged: Logged) -> None:
    refused = client.post("/predict", json=row(city="Ulm"))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "city")
    assert refused.json()["errors"][0]["type"] == "unseen_value"
    several = client.post("/predict/batch", json={"rows": [row(), row(city="Ulm"), row(), row(city="Bern")]})
    assert [error["field"] for error in several.json()["errors"]] == ["rows[1].city", "rows[3].city"]
    assert logged("predictions") == []


def test_a_row_that_the_model_cannot_take_is_refused_and_harms_no_other(client: TestClient, logged: Logged) -> None:
    lost = row(age=None, income=None)
    refused = client.post("/predict", json=lost)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "body")
    several = client.post("/predict/batch", json={"rows": [row(), row(age=None), lost, row(), lost]})
    assert several.status_code == 422
    assert [(error["field"], error["type"]) for error in several.json()["errors"]] == [("rows[2]", "row_refused")]
    assert logged("predictions") == []
    assert client.post("/predict", json=row(age=None)).status_code == 200
    assert 'vigie_rejected_requests_total{reason="row_refused"} 2.0' in client.get("/metrics").text


def test_the_schema_says_which_numbers_count_as_the_nearer_end(client: TestClient, artifact: Path) -> None:
    described = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["properties"]
    assert "other values are refused" in described["city"]["description"]
    clipped = [one for one in read_manifest(artifact).features if one.clip is not None]
    for one in clipped:
        assert "count as these" in described[one.name]["description"]
