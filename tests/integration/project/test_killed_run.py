"""A test run that is stopped or killed leaves no process behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.scripts.processes import ROOT, eventually
from tests.servers import runs

STARTS_SERVERS = """
import shutil, signal
from pathlib import Path
from playwright.sync_api import sync_playwright
from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import NOBODY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_that_is_stopped_in_the_middle(postgres, iris_artifact, tmp_path):
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_SNAPSHOTS="false")
    api.start()
    with sync_playwright() as playwright:
        if CHROMIUM is not None:
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        Path("{ready}").touch()
        signal.pause()
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads children from Linux's /proc")


@pytest.mark.parametrize(
    ("workers", "number"),
    [("0", signal.SIGTERM), ("1", signal.SIGINT), ("1", signal.SIGKILL)],
    ids=["terminated", "interrupted", "killed"],
)
def test_a_stopped_run_leaves_no_process_behind(
    tmp_path: Path, iris_artifact: Path, workers: str, number: signal.Signals
) -> None:
    ready, file = tmp_path / "ready", tmp_path / "test_run.py"
    file.write_text(STARTS_SERVERS.replace("{ready}", str(ready)))
    options = ["-p", "tests.conftest", "-c", "pyproject.toml", "--rootdir", ".", "-n", workers, str(file)]
    with (tmp_path / "output").open("wb") as output:
        # a shell starts what runs in its background with SIGINT ignored, and programs hand that on
        python = ["env", "--default-signal=INT", sys.executable]
        command = [*python, "-m", "pytest", "--basetemp", str(tmp_path / "run"), *options]
        run = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        assert eventually(lambda: ready.exists() or run.poll() is not None)
        assert run.poll() is None, (tmp_path / "output").read_text()
        started = descendants(run.pid)
        assert {"postgres", "python"} <= {name.split()[0].removesuffix("3") for name in started.values()}
    finally:
        run.send_signal(number)
        try:
            run.wait(60)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            raise
    assert eventually(lambda: not {pid for pid in started if runs(pid)}, 60), {
        pid: name for pid, name in started.items() if runs(pid)
    }


def descendants(pid: int) -> dict[int, str]:
    """Return the name of every process that this one, or one of its descendants, has started."""
    found: dict[int, str] = {}
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, thread.read_text(encoding="ascii").split()):
            found[child] = Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip()
            found |= descendants(child)
    return found
