"""What /metrics says of the API, with one worker and with several."""

import os
import random
import re
import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from time import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import api
from api.metrics import Metrics
from api.metrics_folder import prepare_metrics_folder
from api.model_metrics import MAX_VERSIONS
from api.prediction_log.database import Database

ROOT = Path(__file__).parents[3]


def series(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))) for family in families for one in family.samples}


def value(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


def test_unknown_paths_and_methods_make_no_series(client: TestClient) -> None:
    client.get("/warm-up")
    client.request("ODD", "/warm-up")
    before = series(client.get("/metrics").text)
    drawn = random.Random(0)
    for _ in range(100):
        word = "".join(drawn.choices(string.ascii_letters, k=8))
        client.request("GET", f"/{word}/{word}")
        client.request(word.upper(), f"/{word}")
    assert series(client.get("/metrics").text) == before


def test_what_is_not_found_is_counted_without_its_path(client: TestClient) -> None:
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert value(text, "http_requests_total", handler="none", method="GET", status="4xx") == 1


def test_health_checks_and_scrapes_are_not_measured_but_similar_paths_are(
    client: TestClient,
) -> None:
    client.get("/health/live")
    client.get("/metrics")
    client.get("/snapshots/metrics")
    text = client.get("/metrics").text
    assert value(text, "http_request_duration_highr_seconds_count") == 1
    assert value(text, "http_request_duration_seconds_count", handler="/snapshots/metrics") == 1


def test_the_latency_objective_is_the_edge_of_a_bucket(client: TestClient, setosa: dict[str, Any]) -> None:
    client.post("/predict", json=setosa)
    text = client.get("/metrics").text
    assert value(text, "http_request_duration_seconds_bucket", handler="/predict", le="0.1") is not None
    assert value(text, "http_request_duration_highr_seconds_bucket", le="0.1") is not None


def test_a_body_that_is_too_large_is_measured_as_a_request(client: TestClient) -> None:
    client.post("/predict", content=b" " * 60_000)
    text = client.get("/metrics").text
    assert value(text, "http_requests_total", handler="/predict", status="4xx") == 1
    assert value(text, "vigie_rejected_requests_total", reason="body_too_large") == 1


def test_rows_of_a_request_the_queue_and_requests_in_progress_are_shown(
    client: TestClient, setosa: dict[str, Any]
) -> None:
    client.post("/predict/batch", json={"rows": [setosa] * 20})
    text = client.get("/metrics").text
    assert value(text, "vigie_request_rows_sum") == 20
    assert value(text, "vigie_request_rows_bucket", le="10.0") == 0
    assert value(text, "vigie_log_queue_rows") == 0
    assert value(text, "vigie_log_queue_limit_rows") == 50_000
    assert value(text, "vigie_log_commit_rows_sum") == 20
    assert value(text, "vigie_requests_in_progress") == 0


def test_the_build_info_shows_which_version_serves_which_model(client: TestClient) -> None:
    card = client.get("/model").json()
    labels = {"version": api.__version__, "model": card["name"], "model_version": card["version"], "engine": "onnx"}
    assert value(client.get("/metrics").text, "vigie_build_info", **labels) == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == api.__version__


def test_outcomes_are_counted_from_zero(client: TestClient) -> None:
    text = client.get("/metrics").text
    for outcome in ("posted", "skipped", "failed", "given_up", "worker_failed"):
        assert value(text, "vigie_snapshot_windows_total", outcome=outcome) == 0


def test_each_version_of_a_model_has_its_latency_and_its_failures_and_old_ones_go() -> None:
    registry = CollectorRegistry()
    versions = Metrics(registry).of_versions
    for number in range(MAX_VERSIONS + 2):
        versions.observe("iris", f"v{number}", 0.02, failed=number % 2 == 1)
        versions.observe("iris", f"v{number}", 0.2, failed=False)
    text = generate_latest(registry).decode()
    shown = {sample[1] for sample in series(text) if sample[0] == "vigie_prediction_seconds_count"}
    assert {dict(labels)["model_version"] for labels in shown} == {f"v{number}" for number in range(2, 10)}
    assert value(text, "vigie_prediction_seconds_bucket", model_version="v8", le="0.1") == 1
    assert value(text, "vigie_prediction_seconds_count", model_version="v8") == 2
    assert value(text, "vigie_prediction_failures_total", model_version="v8") == 0, "so that the first is an increase"
    assert value(text, "vigie_prediction_failures_total", model_version="v9") == 1


def test_a_call_counts_for_the_version_that_serves_and_a_refused_one_for_none(
    client: TestClient, setosa: dict[str, Any]
) -> None:
    client.post("/predict", json=setosa)
    client.post("/predict/batch", json={"rows": [setosa] * 20})
    client.post("/predict", json={})
    card, text = client.get("/model").json(), client.get("/metrics").text
    labels = {"model": card["name"], "model_version": card["version"]}
    assert value(text, "vigie_prediction_seconds_count", **labels) == 2
    assert value(text, "vigie_prediction_failures_total", **labels) == 0


def test_a_call_that_cannot_be_logged_is_a_failure_of_its_version(
    client: TestClient, database_url: str, setosa: dict[str, Any]
) -> None:
    database = Database(database_url)
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE predictions RENAME TO predictions_away")
    database.dispose()
    assert client.post("/predict", json=setosa).status_code >= 500
    assert value(client.get("/metrics").text, "vigie_prediction_failures_total") == 1


def test_the_address_of_evidently_ui_for_people_is_shown_with_the_start(client: TestClient) -> None:
    text = client.get("/metrics").text
    shown = value(text, "vigie_evidently_link_timestamp_seconds", url="http://127.0.0.1:8001")
    assert shown == pytest.approx(time(), abs=300)


def test_a_password_in_the_address_of_evidently_ui_is_not_shown() -> None:
    registry = CollectorRegistry()
    Metrics(registry).link_evidently("https://me:hidden@ui.example:8001/path")
    text = generate_latest(registry).decode()
    assert value(text, "vigie_evidently_link_timestamp_seconds", url="https://ui.example:8001/path") is not None
    assert "hidden" not in text


WORKER = """
import os, sys
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from api.metrics import Metrics
from api.middleware.request_metrics import measure_requests
app = FastAPI()
metrics = Metrics(CollectorRegistry())
measure_requests(app, metrics)
metrics.describe(log_queue_rows=100)
metrics.describe_model("1", "iris", "old", "onnx")
metrics.describe_model("1", "iris", "2", "onnx")
metrics.count_predictions(5)
for number in range(20):
    metrics.of_versions.observe("iris", str(number), 0.01, failed=False)
metrics.link_evidently("http://ui")
metrics.observe_queue(int(sys.argv[1]))
metrics.observe_status(1e9, lease_held=sys.argv[1] == "3", evidently_up=True)
print(os.getpid(), flush=True)
if sys.argv[2:] == ["stay"]:
    sys.stdin.read()
if sys.argv[2:] == ["scrape"]:
    print(TestClient(app).get("/metrics").text)
"""


def worker(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-W", "ignore", "-c", WORKER, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split("\n", 1)[1]


@contextmanager
def live_worker(folder: Path, *arguments: str) -> Iterator[None]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-W", "ignore", "-c", WORKER, *arguments, "stay"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it tells its pid once its metrics are set
        yield
        process.stdin.close()


def test_any_worker_that_is_scraped_adds_up_all_workers(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    prepare_metrics_folder(folder)
    with live_worker(folder, "3"):
        text = worker(folder, "4", "scrape")
    assert value(text, "vigie_predicted_rows_total") == 10
    assert value(text, "vigie_log_queue_rows") == 7
    assert value(text, "vigie_log_queue_limit_rows") == 200
    assert value(text, "vigie_snapshot_lease_held") == 1
    assert value(text, "vigie_evidently_up") == 1
    assert value(text, "vigie_build_info", model="iris") == 1
    assert 'model_version="2"' in text
    assert 'model_version="old"' not in text
    assert value(text, "vigie_prediction_seconds_count", model_version="0") == 2
    assert value(text, "vigie_prediction_seconds_count", model_version="other") == 2 * (20 - MAX_VERSIONS)
    assert len(re.findall("^vigie_evidently_link_timestamp_seconds{", text, re.MULTILINE)) == 1
    assert not re.search(r"\bpid=", text)
    assert not re.search(r"(?i)drift|accuracy|precision|recall|auc", text)


def test_a_worker_that_died_leaves_its_counts_and_no_gauges(tmp_path: Path) -> None:
    prepare_metrics_folder(tmp_path)
    worker(tmp_path, "3")
    text = worker(tmp_path, "4", "scrape")
    assert value(text, "vigie_predicted_rows_total") == 10
    assert value(text, "vigie_log_queue_rows") == 4
    assert value(text, "vigie_snapshot_lease_held") == 0


def test_a_new_run_starts_with_an_empty_folder(tmp_path: Path) -> None:
    worker(tmp_path, "3")
    prepare_metrics_folder(tmp_path)
    assert value(worker(tmp_path, "4", "scrape"), "vigie_predicted_rows_total") == 5
