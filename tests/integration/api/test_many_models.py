"""Several models beside a real Evidently UI: one worker measures the windows of all, each in a project of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from api.prediction_log.database import Database
from evidently_workspace.client import EvidentlyClient, project_id_for
from tests.integration.api.conftest import ApiProcess
from tests.integration.conftest import RunningUI
from tests.unit.api.conftest import SETOSA

NAMES = ("iris", "shop", "third")
ROWS = {"rows": [SETOSA] * 40}


@pytest.fixture
def three(iris_artifact: Path, tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    """An API process with three copies of one model, whose windows are closed by hand."""
    for name in NAMES:
        shutil.copytree(iris_artifact, tmp_path / "models" / name)
        (tmp_path / "models" / name / "vigie.yaml").write_text(f"evidently_project: {tmp_path.name}-{name}\n")
    settings = {"VIGIE_MODELS_DIR": str(tmp_path / "models"), "VIGIE_DEFAULT_MODEL": "iris"}
    process = ApiProcess(tmp_path, iris_artifact, ui_port, **settings)
    process.start()
    yield process
    if not process.ended():
        process.stop()


def newest(api: ApiProcess, model: str) -> dict[str, Any]:
    windows = httpx.get(f"{api.url}/models/{model}/snapshots", timeout=30).raise_for_status().json()["windows"]
    found: dict[str, Any] = windows[0]
    return found


def close(api: ApiProcess, model: str) -> None:
    httpx.post(f"{api.url}/models/{model}/predict/batch", json=ROWS, timeout=60).raise_for_status()
    httpx.post(f"{api.url}/models/{model}/snapshots?force=true", timeout=60).raise_for_status()


def awaited(api: ApiProcess, model: str, seconds: float = 150) -> dict[str, Any]:
    deadline = monotonic() + seconds
    while (window := newest(api, model))["status"] != "posted":
        assert monotonic() < deadline, window
        sleep(0.1)
    return window


def test_each_model_has_windows_reports_and_a_project_of_its_own(three: ApiProcess, ui: RunningUI) -> None:
    for model in NAMES:
        close(three, model)
    windows = {model: awaited(three, model) for model in NAMES}
    reports = {window["report_url"] for window in windows.values()}
    assert len(reports) == len(NAMES)
    for model, window in windows.items():
        assert (window["rows"], len(httpx.get(window["report_url"], timeout=60).raise_for_status().text) > 1000) == (
            40,
            True,
        )
        assert window["report_url"].endswith("Z.html" if model == "iris" else f"Z.{model}.html")
    projects = {window["evidently_url"].split("/projects/")[1].split("/")[0] for window in windows.values()}
    assert len(projects) == len(NAMES)
    listed = httpx.get(f"{ui.url}/api/projects", timeout=60).json()
    assert {str(one["id"]) for one in listed} >= projects
    metrics = httpx.get(f"{three.url}/metrics", timeout=30).text
    for model in NAMES:
        assert f'vigie_snapshot_windows_total{{model="{model}",outcome="posted"}} 1.0' in metrics


def test_a_model_whose_artifact_breaks_later_keeps_no_other_waiting(three: ApiProcess, tmp_path: Path) -> None:
    reference = tmp_path / "models" / "iris" / "reference.parquet"
    whole = reference.read_bytes()
    reference.write_bytes(b"damaged")
    for model in NAMES:  # that of the damaged model has waited longest
        close(three, model)
    for model in NAMES[1:]:
        awaited(three, model)
    assert newest(three, "iris")["status"] in {"due", "failed"}
    reference.write_bytes(whole)
    awaited(three, "iris")


def test_each_window_of_three_models_is_posted_once_though_the_process_is_killed(
    three: ApiProcess, tmp_path: Path, ui: RunningUI
) -> None:
    for model in NAMES:
        close(three, model)
    three.stop(SIGKILL)  # with a window under way, or about to be
    three.start()
    for model in NAMES:
        close(three, model)
    listed = {model: windows_of(three, model) for model in NAMES}
    for model in NAMES:
        awaited(three, model)
    database = Database(three.database_url)
    with EvidentlyClient(ui.url, ui.secret) as client:
        for model in NAMES:
            windows = windows_of(three, model)
            assert [one["start"] for one in windows] == [one["start"] for one in listed[model]]
            assert {one["status"] for one in windows} <= {"posted", "skipped"}
            assert sum(one["rows"] for one in windows) == 80, "each row is in one window"
            project = project_id_for(f"{tmp_path.name}-{model}")
            found = client.snapshots_by_window(project, database.log_id())
            posted = {one["evidently_url"].rpartition("/")[2] for one in windows if one["status"] == "posted"}
            assert {str(key) for keys in found.values() for key in keys} == posted, "none lost, none doubled"
    database.dispose()


def windows_of(api: ApiProcess, model: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{api.url}/models/{model}/snapshots", timeout=30).raise_for_status()
    found: list[dict[str, Any]] = answer.json()["windows"]
    return found
