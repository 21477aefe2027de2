"""A real API process beside a real Evidently UI process, and what the tests say to them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGTERM
from time import monotonic, sleep
from typing import Any

import httpx
import pandas as pd
import pytest
from rich.console import Console

from model.artifact.manifest import LABEL
from model.artifact.store import read_reference, read_test
from scripts.stack.config import StackConfig
from scripts.stack.stack import Stack
from tests.integration.conftest import SECRET
from tests.servers import Server, await_answer, free_port

ROOT = Path(__file__).parents[3]
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


class Caller:
    """A client of the API that sends rows with labels and waits for windows."""

    def __init__(self, url: str, pool: pd.DataFrame) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.pool = pool

    def send(self, rows: int, *, labelled: bool = True, shift: float = 0.0, seed: int = 0) -> list[str]:
        """Predict rows drawn from the hold-out data, moved by ``shift`` standard deviations, and give their labels."""
        drawn = self.pool.sample(rows, replace=True, random_state=seed)
        values = drawn[FEATURES] + shift * self.pool[FEATURES].std()
        answer = self.http.post("/predict/batch", json={"rows": values.to_dict("records")})
        ids = [item["prediction_id"] for item in answer.raise_for_status().json()["predictions"]]
        if labelled:
            labels = [{"prediction_id": key, "label": label} for key, label in zip(ids, drawn[LABEL], strict=True)]
            receipt = self.http.post("/feedback", json={"labels": labels}).raise_for_status().json()
            assert receipt == {"accepted": rows, "unknown": []}
        return ids

    def windows(self) -> list[dict[str, Any]]:
        """Return the windows, newest first."""
        found: list[dict[str, Any]] = self.http.get("/snapshots").raise_for_status().json()["windows"]
        return found

    def close_window(self) -> str:
        """Ask for a snapshot now, and return the start of its window."""
        return str(self.http.post("/snapshots?force=true").raise_for_status().json()["start"])

    def awaited(self, start: str, statuses: set[str], seconds: float = 90) -> dict[str, Any]:
        """Return the window once it has one of the statuses."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            window = next(one for one in self.windows() if one["start"] == start)
            if window["status"] in statuses:
                return window
            sleep(0.05)
        raise TimeoutError(f"the window is still {window}")

    def snapshot(self) -> dict[str, Any]:
        """Take a snapshot and return its window when it is finished."""
        return self.awaited(self.close_window(), {"posted", "skipped"})


@pytest.fixture(scope="session")
def pool(iris_artifact: Path) -> pd.DataFrame:
    return pd.concat([read_test(iris_artifact), read_reference(iris_artifact)], ignore_index=True)


class ApiProcess:
    """One API process on a database of its own, started and stopped by the test, by its pid."""

    def __init__(self, folder: Path, artifact: Path, ui_port: int, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "vigie.db"
        self._log = folder / "api.log"
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "VIGIE_PORT": str(self.port),
            "VIGIE_MODEL_DIR": str(artifact),
            "VIGIE_DATABASE_URL": f"sqlite:///{self.database}",
            "VIGIE_REPORTS_DIR": str(folder / "reports"),
            "VIGIE_EVIDENTLY_URL": f"http://127.0.0.1:{ui_port}",
            "VIGIE_EVIDENTLY_SECRET": SECRET,
            "VIGIE_EVIDENTLY_PROJECT": folder.name,
            "VIGIE_SNAPSHOT_INTERVAL_SECONDS": "86400",
            "VIGIE_HEARTBEAT_SECONDS": "0.5",
            **settings,
        }
        self.database_url = self._environment["VIGIE_DATABASE_URL"]
        self._process: Server | None = None

    def start(self) -> None:
        """Start, and return when it is ready."""
        self.launch("/health/ready")

    def launch(self, path: str) -> None:
        """Start, and return when it answers 200 at the path."""
        self._process = Server([sys.executable, "-m", "api"], self._log, cwd=ROOT, env=self._environment)
        await_answer(f"{self.url}{path}", self._process)

    def command(self, *words: str) -> str:
        """Run a module of ours with the settings of this API, and return what it prints."""
        command = [sys.executable, "-m", *words]
        return subprocess.check_output(command, cwd=ROOT, env=self._environment, text=True, timeout=120)

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """Return the pids of the processes that it started."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for thread in threads for pid in thread.read_text(encoding="ascii").split()]

    def stop(self, signal: int = SIGTERM) -> int:
        """End it with a signal and return its exit status."""
        assert self._process is not None
        return self._process.stop(signal)

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


@pytest.fixture
def api(iris_artifact: Path, tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    """A running API process that the test may kill."""
    process = ApiProcess(tmp_path, iris_artifact, ui_port)
    process.start()
    yield process
    if not process.ended():
        process.stop()


@pytest.fixture(scope="session")
def stack(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Evidently UI and the API; windows are closed by hand, so that no test waits for the clock."""
    config = StackConfig(
        data_dir=tmp_path_factory.mktemp("stack"),
        model_dir=iris_artifact,
        api_port=free_port(),
        ui_port=free_port(),
        interval_seconds=86_400,
        inherited={"VIGIE_HEARTBEAT_SECONDS": "1", "PATH": "/usr/bin:/bin"},
    )
    with Stack(config, Console(quiet=True)) as stack:
        yield stack


@pytest.fixture
def caller(stack: Stack, pool: pd.DataFrame) -> Iterator[Caller]:
    caller = Caller(stack.config.api_url, pool)
    with closing(caller.http):
        yield caller
