"""A backup of a stack that runs, restored into an empty one."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pandas as pd
from rich.console import Console

from scripts.stack.config import StackConfig
from scripts.stack.stack import Stack
from tests.integration.api.conftest import ROOT, Caller
from tests.integration.api.traffic import traffic
from tests.servers import free_port


def command(stack: StackConfig, *arguments: str) -> str:
    environment = {
        "PATH": "/usr/bin:/bin",
        "VIGIE_DATABASE_URL": f"sqlite:///{stack.data_dir}/vigie.db",
        "VIGIE_EVIDENTLY_DATABASE_URL": f"sqlite:///{stack.data_dir}/evidently.db",
        "VIGIE_MODEL_DIR": str(stack.model_dir),
        "VIGIE_REPORTS_DIR": str(stack.data_dir / "reports"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def in_evidently(stack: Stack, caller: Caller) -> list[dict[str, object]]:
    project = caller.windows()[0]["evidently_url"].split("/projects/")[1].split("/")[0]
    found = httpx.get(f"{stack.config.ui_url}/api/projects/{project}/snapshots").raise_for_status().json()
    return sorted(found, key=str)


def config(folder: Path, model_dir: Path) -> StackConfig:
    inherited = {"VIGIE_HEARTBEAT_SECONDS": "1", "PATH": "/usr/bin:/bin"}
    return StackConfig(
        data_dir=folder, model_dir=model_dir, api_port=free_port(), ui_port=free_port(), interval_seconds=86_400,
        inherited=inherited,
    )  # fmt: skip


def test_a_stack_is_restored_as_it_was_and_goes_on(iris_artifact: Path, pool: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    with Stack(config(tmp_path / "first", iris_artifact), Console(quiet=True)) as stack:
        caller = Caller(stack.config.api_url, pool)
        with closing(caller.http), traffic(stack.config.api_url, callers=2) as calls:
            caller.send(100)
            taken = caller.snapshot()
            before = calls.acknowledged[-1000:]
            command(stack.config, "scripts.backup", "--out", str(file))
            windows, snapshots = caller.windows(), in_evidently(stack, caller)
            report = caller.http.get(taken["report_url"]).raise_for_status().text
    target = config(tmp_path / "second", tmp_path / "second" / "model")
    command(target, "scripts.restore", str(file))
    with Stack(target, Console(quiet=True)) as stack:
        caller = Caller(stack.config.api_url, pool)
        with closing(caller.http):
            restored = caller.windows()
            kept = ("start", "end", "status", "rows", "labelled_rows", "failed_checks", "reason")
            assert [{key: window[key] for key in kept} for window in restored[-len(windows) :]] == [
                {key: window[key] for key in kept} for window in windows
            ]
            assert in_evidently(stack, caller) == snapshots
            path = taken["report_url"].split("/reports/")[1]
            assert caller.http.get(f"/reports/{path}").raise_for_status().text == report
            labels = [{"prediction_id": key, "label": "setosa"} for key in before]
            assert caller.http.post("/feedback", json={"labels": labels}).json() == {
                "accepted": len(before), "unknown": [],
            }  # fmt: skip
            caller.send(100)
            assert caller.snapshot()["status"] == "posted"
