"""Three models in containers: two that are served and one that is only watched, in one volume."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import pytest

from tests.compose.conftest import ROOT, Compose, awaited, removed_at_the_end
from tests.compose.test_stack import ROW
from tests.watched import OPTIONS, PROBABILITIES, csv_of, loans, logged

pytestmark = pytest.mark.timeout(2400)

SETTINGS = {"VIGIE_MODELS_DIR": "/data/model", "VIGIE_DEFAULT_MODEL": "current"}
SERVICES = ("api", "evidently-ui", "prometheus", "local-front")


@pytest.fixture(scope="module")
def compose(checkout: Path) -> Iterator[Compose]:
    stack = Compose(checkout, variables=SETTINGS)
    reference = checkout / "loans.csv"
    reference.write_text(csv_of([without(row, "loan", "at") for row in loans(600)]), encoding="utf-8")
    reference.chmod(0o644)
    with removed_at_the_end(stack, "compose-many.log"):
        make(stack, "model.train", "--if-missing", "--out", "/data/model/current")
        make(stack, "model.train", "--dataset", "wine", "--out", "/data/model/wine")
        watched = ("--reference", "/csv/loans.csv", *OPTIONS, *PROBABILITIES, "--out", "/data/model/loans")
        make(stack, "model.watch", *watched, mounts=("--volume", f"{reference}:/csv/loans.csv:ro"))
        stack.run("up", "--detach", "--wait", "--no-build", *SERVICES, seconds=600)
        yield stack


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def make(compose: Compose, module: str, *options: str, mounts: tuple[str, ...] = ()) -> None:
    """Run a command of the package model in a container that may write the models' volume."""
    compose.run("run", "--rm", "-T", *mounts, "model", "python", "-m", module, *options, seconds=600)


def states(compose: Compose) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in compose.api("GET", "/models")["models"]}


def row_of(compose: Compose, model: str) -> dict[str, Any]:
    return {one["name"]: one["example"] for one in compose.api("GET", f"/models/{model}")["features"]}


def test_the_api_has_three_models_and_one_of_them_is_watched(compose: Compose) -> None:
    found = states(compose)
    assert list(found) == ["current", "loans", "wine"]
    assert all(one["serving"] for one in found.values())
    assert [name for name, one in found.items() if one["default"]] == ["current"]
    engines = {name: compose.api("GET", f"/models/{name}")["engine"] for name in found}
    assert engines["loans"] == "elsewhere"
    assert "elsewhere" not in {engines["current"], engines["wine"]}
    assert compose.api("GET", "/model")["name"] == "iris"


def test_each_has_windows_and_a_project_of_its_own(compose: Compose, tmp_path: Path) -> None:
    batch = tmp_path / "night.csv"
    batch.write_text(csv_of(loans(300, seed=7)), encoding="utf-8")
    command = [sys.executable, "-m", "scripts.ingest", str(batch), "--model", "loans", "--id", "loan"]
    sent = subprocess.run(
        [*command, "--url", compose.url("API")], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert sent.returncode == 0, sent.stderr
    assert "300 rows: 300 logged" in sent.stdout
    wine = row_of(compose, "wine")
    compose.api("POST", "/models/wine/predict/batch", json={"rows": [wine] * 60})
    compose.api("POST", "/predict/batch", json={"rows": [ROW] * 60})

    def windows(model: str) -> list[dict[str, Any]]:
        listed = compose.api("GET", f"/models/{model}/snapshots")["windows"]
        return [one for one in listed if one["status"] == "posted" and one["rows"]]

    for model, rows in (("loans", 300), ("wine", 60), ("current", 60)):
        posted = awaited(lambda model=model: windows(model), 300, f"a posted window of {model}")
        assert sum(one["rows"] for one in posted) <= rows
        assert httpx.get(posted[0]["report_url"], timeout=30).status_code == 200
    projects = httpx.get(f"{compose.url('EVIDENTLY')}/api/projects", timeout=30).json()
    assert {one["name"] for one in projects} == {"iris", "loans", "wine"}


def test_prometheus_tells_the_models_apart(compose: Compose) -> None:
    def seen() -> bool:
        return {one["metric"]["model"] for one in compose.query("vigie_model_serving == 1")} == set(states(compose))

    awaited(seen, what="a series of each model")


def test_a_killed_api_comes_back_with_the_rows_of_each_model(compose: Compose) -> None:
    loan = logged(loans(1, seed=8)[0]) | {"prediction_id": "order-17"}
    assert compose.api("POST", "/models/loans/log", json={"predictions": [loan]})["accepted"] == 1
    wine = row_of(compose, "wine")
    for path, row in (("/predict", ROW), ("/models/wine/predict", wine)):
        compose.api("POST", f"{path}?prediction_id=order-17", json=row)
    before = compose.inspect("api")
    os.kill(before["State"]["Pid"], SIGKILL)
    awaited(lambda: compose.inspect("api")["RestartCount"] > before["RestartCount"], what="a restart")
    awaited(lambda: compose.api("GET", "/health/ready"), what="a ready API")
    for model, label in (("current", "setosa"), ("wine", "class_0"), ("loans", "yes")):
        labels = [{"prediction_id": "order-17", "label": label}]
        receipt = compose.api("POST", f"/models/{model}/feedback", json={"labels": labels})
        assert receipt == {"accepted": 1, "unknown": []}, model


def test_a_damaged_model_is_alone_in_that_and_serves_again_without_a_restart(compose: Compose) -> None:
    damage = "printf damaged > /data/model/wine/model.onnx"
    compose.run("run", "--rm", "-T", "model", "sh", "-c", damage)
    compose.run("restart", "api")
    found = awaited(lambda: states(compose), what="the list of models")
    assert {name: one["serving"] for name, one in found.items()} == {"current": True, "loans": True, "wine": False}
    assert "model.onnx does not match its SHA-256" in found["wine"]["reason"]
    assert httpx.get(compose.url("API") + "/health/ready", timeout=30).status_code == 200
    assert httpx.post(compose.url("API") + "/models/wine/predict", json={}, timeout=30).status_code == 503
    make(compose, "model.train", "--dataset", "wine", "--out", "/data/model/wine")
    assert compose.api("POST", "/models/wine/reload")["status"] == "reloaded"
    assert all(one["serving"] for one in states(compose).values())
