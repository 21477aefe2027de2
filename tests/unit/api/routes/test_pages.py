import asyncio
import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from time import sleep
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text

from api.app import create_app
from api.prediction_log.database import Database
from api.routes.pages import status_lines
from api.schemas import MetricSeriesList
from api.settings import Settings
from api.snapshots.queries import Points, SnapshotQueries
from api.snapshots.reports import SCRIPT_END, SCRIPT_START, write_window_report


def test_alive_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_not_ready_when_the_log_cannot_be_written(client: TestClient, database_url: str) -> None:
    database = Database(database_url)
    with database.writing() as connection:
        connection.execute(text("DROP TABLE horizon"))
    database.dispose()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert client.get("/health/live").status_code == 200


def test_the_model_card_carries_schema_classes_and_quality(client: TestClient) -> None:
    card = client.get("/model").json()
    assert [feature["name"] for feature in card["features"]] == [
        "sepal_length",
        "sepal_width",
        "petal_length",
        "petal_width",
    ]
    assert card["classes"] == ["setosa", "versicolor", "virginica"]
    assert 0.8 < card["quality"]["accuracy"] <= 1


def test_swagger_ui_loads_only_local_files(client: TestClient) -> None:
    page = client.get("/docs").text
    links = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert client.get(link).status_code == 200


def test_swagger_ui_shows_example_unit_and_range_of_each_field(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Row"]
    field = schema["properties"]["sepal_length"]
    assert "in cm; 4.3 to 7.9 in training" in field["description"]
    assert field["examples"]
    assert set(schema["examples"][0]) == set(schema["required"]) == set(schema["properties"])


def test_the_schema_s_own_example_is_accepted(client: TestClient) -> None:
    example = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["examples"][0]
    assert client.post("/predict", json=example).status_code == 200


def test_the_landing_page_links_what_people_use(client: TestClient) -> None:
    page = client.get("/").text
    for link in ("docs", "http://127.0.0.1:8001", "snapshots", "metrics"):
        assert f'href="{link}' in page
    assert '<meta http-equiv="refresh"' in page, "an open tab stays current"


def test_the_landing_page_shows_whether_the_api_is_ready(client: TestClient, database_url: str) -> None:
    assert "<b>API</b> ready" in client.get("/").text
    database = Database(database_url)
    with database.writing() as connection:
        connection.execute(text("ALTER TABLE horizon RENAME TO elsewhere"))
    answer = client.get("/")
    assert answer.status_code == 200
    assert "<b>API</b> not ready: the prediction log does not answer" in answer.text
    assert "Unknown while the log does not answer" in answer.text
    with database.writing() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO horizon"))
    database.dispose()
    assert "<b>API</b> ready" in client.get("/").text


@pytest.mark.parametrize(
    ("up", "text"), [(True, "answers"), (False, "does not answer; windows wait"), (None, "not checked")]
)
def test_the_landing_page_shows_whether_evidently_ui_answers(client: TestClient, up: bool | None, text: str) -> None:
    assert f"<b>Evidently UI</b> {text}" in status_lines(None, up)
    assert status_lines(None, None) in client.get("/").text  # a process that takes no snapshots does not look


def test_a_failure_reason_is_shown_as_text() -> None:
    assert "&lt;b&gt;" in status_lines("<b>", True)


def test_the_windows_are_listed_newest_first_and_one_can_be_closed_early(
    client: TestClient, setosa: dict[str, Any]
) -> None:
    assert client.get("/snapshots").json()["windows"] == []
    assert client.post("/snapshots").status_code == 409
    client.post("/predict", json=setosa)
    answer = client.post("/snapshots?force=true")
    assert answer.status_code == 202
    first = answer.json()
    assert first["status"] == "due"
    client.post("/predict", json=setosa)
    second = client.post("/snapshots?force=true").json()
    assert second["start"] == first["end"]
    assert [window["start"] for window in client.get("/snapshots").json()["windows"]] == [
        second["start"],
        first["start"],
    ]
    assert len(client.get("/snapshots", params={"limit": 1}).json()["windows"]) == 1


def test_bad_queries_of_the_windows_are_problems(client: TestClient) -> None:
    assert client.get("/snapshots", params={"limit": 0}).status_code == 422
    assert client.get("/snapshots/metrics", params={"from": "yesterday"}).status_code == 422
    assert client.get("/snapshots/metrics", params={"from": "2026-11-23T00:00:00"}).json() == {"series": []}


def test_only_reports_are_served(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text("hidden")
    reports = tmp_path / "reports" / "2026-11-23"
    reports.mkdir(parents=True)
    (reports / "one.html").write_text("<p>one</p>")
    assert client.get("/reports/2026-11-23/one.html").text == "<p>one</p>"
    (tmp_path / "reports" / "top.html").write_text("hidden")
    for name in ("..%2Fsecret.html", "%2e%2e/secret.html", "2026-11-23/two.html", "2026-11-23/one.txt", "../top.html"):
        answer = client.get(f"/reports/{name}")
        assert answer.status_code in {404, 422}, name
        assert "hidden" not in answer.text


def test_a_report_is_served_with_its_script_or_the_missing_part_is_named(client: TestClient, tmp_path: Path) -> None:
    page = f"<p>one</p>{SCRIPT_START}draw('ä'){SCRIPT_END}data)</script>"
    write_window_report(tmp_path / "reports", "2026-11-23/one.html", page)
    answer = client.get("/reports/2026-11-23/one.html")
    assert (answer.text, answer.headers["content-type"]) == (page, "text/html; charset=utf-8")
    (script,) = (tmp_path / "reports" / "assets").iterdir()
    assert client.get(f"/reports/assets/{script.name}").status_code == 422
    script.unlink()
    answer = client.get("/reports/2026-11-23/one.html")
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"a part of the report 2026-11-23/one.html is gone: {script.name}"


def test_metrics_do_not_show_the_health_of_the_model(client: TestClient, setosa: dict[str, Any]) -> None:
    client.post("/predict", json=setosa)
    client.get("/nowhere")
    client.get("/health/live")
    metrics = client.get("/metrics").text
    assert 'http_requests_total{handler="/predict",method="POST",status="2xx"} 1.0' in metrics
    assert "vigie_predicted_rows_total 1.0" in metrics
    assert "nowhere" not in metrics
    assert "/health/live" not in metrics
    assert not re.search(r"(?i)drift|accuracy|precision|recall|auc", metrics)


SCRIPT = "<script>alert('name')</script>"


def test_no_name_brings_a_script_into_a_page(settings: Settings, iris_artifact: Path, tmp_path: Path) -> None:
    """An artifact of another hand may have any name: it is shown as text, and its script is not allowed to run."""
    folder = copytree(iris_artifact, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": SCRIPT}))
    update = {"model_dir": folder, "grafana_url": f"javascript:{SCRIPT}"}
    app = create_app(settings.model_copy(update=update))
    hashed = b64encode(sha256(b"alert('name')").digest()).decode()
    with TestClient(app) as client:
        for path in ("/", "/docs"):
            page = client.get(path)
            assert page.status_code == 200
            assert "alert(&#x27;name&#x27;)" in page.text
            assert SCRIPT not in page.text
            assert hashed not in page.headers["content-security-policy"]


def test_the_policy_of_the_start_page_allows_no_script_of_a_value(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.pages.escape", lambda text: text)  # as if a value had been forgotten
    monkeypatch.setattr("api.routes.pages._quality", lambda _manifest: SCRIPT)
    page = client.get("/")
    assert SCRIPT in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")


async def closest_calls(app: FastAPI, calls: int) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://testserver") as client:
        answers = await asyncio.gather(*(client.get("/snapshots/metrics?limit=100000") for _ in range(calls)))
    assert {answer.status_code for answer in answers} == {200}


def test_one_long_series_is_read_at_a_time(app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = 0, 0

    def series(*_arguments: object, **_options: object) -> dict[tuple[str, str], Points]:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        sleep(0.02)  # as long as a database takes; others would come in between
        reading -= 1
        return {}

    monkeypatch.setattr(SnapshotQueries, "series", series)
    asyncio.run(closest_calls(app, 5))
    assert (most, reading) == (1, 0)


def test_the_values_of_windows_are_as_the_schema_says(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 23, 0, 5, 0, 250_000, tzinfo=UTC)
    found: dict[tuple[str, str], Points] = {("rows", ""): [(start, end, 3.0)], ("drift", "é"): [(start, end, 1e-7)]}
    monkeypatch.setattr(SnapshotQueries, "series", lambda *_arguments, **_options: found)
    answer = client.get("/snapshots/metrics")
    assert answer.headers["content-type"] == "application/json"
    assert MetricSeriesList.model_validate_json(answer.content).model_dump(mode="json") == answer.json()
    assert answer.json()["series"][0] == {
        "name": "rows",
        "column": None,
        "points": [{"start": "2026-11-23T00:00:00Z", "end": "2026-11-23T00:05:00.250000Z", "value": 3.0}],
    }
