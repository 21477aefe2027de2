"""DELETE /predictions/{id}: a row and its label go, the figures of its window stay."""

import json
import logging
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from api.prediction_log.changed_rows import RowsOfCheck, record_changed_rows
from api.prediction_log.database import Database
from api.prediction_log.tables import windows
from api.settings import Settings
from evidently_workspace.results import ROWS_HEADER
from tests.logging_rows import Logged
from tests.unit.api.conftest import Bearer

ODD_ID = "Az09._~:@/+=-"


def predicted(client: TestClient, row: dict[str, Any], prediction_id: str, headers: Bearer | None = None) -> None:
    answer = client.post("/predict", params={"prediction_id": prediction_id}, json=row, headers=headers)
    assert answer.status_code == 200, answer.text


def labelled(client: TestClient, *ids: str) -> dict[str, Any]:
    labels = [{"prediction_id": one, "label": "setosa"} for one in ids]
    receipt: dict[str, Any] = client.post("/feedback", json={"labels": labels}).json()
    return receipt


def test_a_prediction_goes_with_its_label_and_leaves_a_line_without_its_content(
    client: TestClient, setosa: dict[str, Any], logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        predicted(client, setosa, name)
    assert labelled(client, "a", "b")["accepted"] == 2
    with caplog.at_level(logging.INFO, "api.prediction_log.erasure"):
        answer = client.delete("/predictions/a")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [row["id"] for row in logged("predictions")] == ["b"]
    assert [row["prediction_id"] for row in logged("labels")] == ["b"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "api.prediction_log.erasure"]
    digest = sha256(b"a").hexdigest()
    assert line == f"erased the prediction of the model whose id has the SHA-256 {digest}, for a caller without a key"


@pytest.mark.parametrize("prediction_id", [ODD_ID, "1:a", "12:", "a//b/", "-"])
def test_an_id_of_odd_characters_is_percent_encoded(
    client: TestClient, setosa: dict[str, Any], logged: Logged, prediction_id: str
) -> None:
    predicted(client, setosa, prediction_id)
    assert client.delete(f"/predictions/{quote(prediction_id, safe='')}").status_code == 204
    assert logged("predictions") == []


@pytest.mark.parametrize("prediction_id", ["nobody", "%00", "a%20b", "%C3%A9", "x" * 200, "%27%3B--"])
def test_an_unknown_id_is_reported(client: TestClient, prediction_id: str) -> None:
    answer = client.delete(f"/predictions/{prediction_id}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "there is no prediction with the id" in answer.json()["detail"]


def test_an_erased_id_is_free_again(client: TestClient, setosa: dict[str, Any], logged: Logged) -> None:
    predicted(client, setosa, "a")
    assert client.delete("/predictions/a").status_code == 204
    assert client.delete("/predictions/a").status_code == 404
    assert labelled(client, "a") == {"accepted": 0, "unknown": ["a"]}
    other = setosa | {"petal_width": 2.5}
    predicted(client, other, "a")
    assert labelled(client, "a")["accepted"] == 1
    (row,) = logged("predictions")
    assert '"petal_width":2.5' in row["features"]


def test_only_an_admin_may_erase_and_the_line_names_the_key(
    caller: TestClient, bearer: Callable[[str], Bearer], setosa: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    predicted(caller, setosa, "a", bearer("predict"))
    assert caller.delete("/predictions/a").status_code == 401
    for scope in ("predict", "feedback", "read", "metrics"):
        assert caller.delete("/predictions/a", headers=bearer(scope)).status_code == 403
    with caplog.at_level(logging.INFO, "api.prediction_log.erasure"):
        assert caller.delete("/predictions/a", headers=bearer("admin")).status_code == 204
    assert "for the key 'admin'" in caplog.text


def test_the_window_keeps_its_row_count(client: TestClient, setosa: dict[str, Any], logged: Logged) -> None:
    predicted(client, setosa, "a")
    assert client.post("/snapshots?force=true").status_code == 202
    before = logged("windows")
    assert client.delete("/predictions/a").status_code == 204
    assert logged("windows") == before


def named_by_a_window(database: Database, report_file: str | None, *ids: str) -> None:
    window = {"model_id": 1, "start": 0, "end": 60_000_000, "status": "posted", "tries": 1, "report_file": report_file}
    with database.writing() as connection:
        connection.execute(insert(windows).values(**window, failed_checks=[], not_computed=[]))
        found = [RowsOfCheck("data_drift", "x", None, [(one, 1.0) for one in ids])]
        record_changed_rows(connection, 1, 0, found)


def test_a_window_names_an_erased_id_no_more_and_an_answer_that_failed_is_asked_for_again(
    client: TestClient, setosa: dict[str, Any], settings: Settings, database: Database, logged: Logged
) -> None:
    for name in ("a", "b"):
        predicted(client, setosa, name)
    named_by_a_window(database, "day/report.html", "a", "b")
    report = settings.reports_dir / "day" / "report.html"
    report.mkdir(parents=True)  # what cannot be read, whoever reads
    answer = client.delete("/predictions/a")
    assert answer.status_code == 503
    assert "the prediction is erased, but a report that names it cannot be changed" in answer.json()["detail"]
    assert [row["id"] for row in logged("predictions")] == ["b"]
    report.rmdir()
    report.write_text(f'<p>"header": {json.dumps(ROWS_HEADER)}, "data": [["data drift", "x", "", "a", "1"]]; "a"')
    assert client.delete("/predictions/a").status_code == 204
    assert report.read_text().endswith('[["data drift", "x", "", "erased", "1"]]; "a"')
    assert client.delete("/predictions/a").status_code == 404
    assert client.delete("/predictions/b").status_code == 204
    assert logged("changed_rows") == []
