"""Builds one workspace through the real client and UI, and measures how long a browser needs to open it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from playwright.sync_api import Page, Response, sync_playwright

from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.ui.options import FIGURES_DAYS, SECRET_VARIABLE
from model.artifact.manifest import Manifest
from scripts.bench.workspace.history import Bodies, PastWindow
from scripts.ports import free_port
from scripts.stack.services import Child, Guard, Service

START_LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.05
LIMIT_MS = 600_000
DRAWN = """(panels) => [...document.querySelectorAll('.MuiCard-root')]
    .filter(card => card.querySelector('.MuiLineElement-root')).length >= panels"""
FIRST_LINE = """() => (document.querySelector('.MuiLineElement-root').getAttribute('d').match(/[MLC]/g) || []).length"""


@dataclass(frozen=True)
class Workspace:
    """Where a workspace is and how its UI is started."""

    folder: Path
    plain: bool = False

    @property
    def database_url(self) -> str:
        """The address of our UI's database."""
        return f"sqlite:///{self.folder / 'evidently.db'}"

    def command(self, port: int) -> list[str]:
        """Return the command that serves it."""
        if self.plain:
            script = Path(sys.executable).with_name("evidently")
            return [str(script), "ui", "--workspace", str(self.folder), "--port", str(port)]
        return [sys.executable, "-m", "evidently_workspace.ui", "--port", str(port), "--database", self.database_url]

    def disk_bytes(self) -> int:
        """Return the size of its files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@dataclass(frozen=True)
class RunningUI:
    """A UI that answers: its address, its process, and how long it took from the start to the first answer."""

    url: str
    pid: int
    start_seconds: float

    def memory_bytes(self) -> int:
        """Return the memory that the process holds now (resident set)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


@contextmanager
def running(workspace: Workspace, log: Path) -> Iterator[RunningUI]:
    """Serve the workspace while the block lasts; raises ChildDiedError or TimeoutError."""
    workspace.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    for name in (SECRET_VARIABLE, f"{SECRET_VARIABLE}_FILE"):
        environment.pop(name, None)  # the bench writes without one
    began = time.monotonic()
    with Guard() as guard:
        child = Child("Evidently UI", workspace.command(port), environment, guard, log)
        try:
            _await_answer(Service(child, f"{url}/api/version"), began)
            yield RunningUI(url, child.pid, time.monotonic() - began)
        finally:
            child.stop()


def _await_answer(service: Service, began: float) -> None:
    while time.monotonic() - began < START_LIMIT_SECONDS:
        service.check()
        try:
            httpx.get(service.ready_url, timeout=START_LIMIT_SECONDS).raise_for_status()
        except httpx.TransportError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise TimeoutError(f"{service.ready_url} did not answer within {START_LIMIT_SECONDS:g} s")


class NotTheWholeHistory(Exception):
    """The charts lack the first or the last window."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How long a dashboard took, and how many points its first line has."""

    seconds: float
    points_of_a_line: int


def look(chromium: str, url: str, panels: int, ends: tuple[datetime, datetime], screenshot: Path) -> Shown:
    """Open the dashboard in a browser without a cache, and return once `panels` panels show lines.

    Raises NotTheWholeHistory unless every panel's points reach from the first to the second of `ends`.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer) if "data_series_batch" in answer.url else None)
        began = time.monotonic()
        page.goto(url)
        page.wait_for_function(DRAWN, arg=panels, timeout=LIMIT_MS)
        seconds = time.monotonic() - began
        _require_whole_history([answer.json() for answer in answers], *ends)
        points = _points_of_the_first_line(page, answers)
        page.screenshot(path=screenshot, full_page=True)
        browser.close()
    return Shown(seconds, points)


def _require_whole_history(answers: list[Any], first: datetime, last: datetime) -> None:
    for answer in answers:
        times = [datetime.fromisoformat(source["timestamp"]).replace(tzinfo=UTC) for source in answer["sources"]]
        if not times or times[0] != first or times[-1] != last:
            shown = f"from {times[0]} to {times[-1]}" if times else "nothing"
            raise NotTheWholeHistory(f"a panel shows {shown}, not from {first} to {last}")


def _points_of_the_first_line(page: Page, answers: list[Response]) -> int:
    drawn = int(page.evaluate(FIRST_LINE))
    if drawn not in {len(answer.json()["sources"]) for answer in answers}:
        raise NotTheWholeHistory(f"the first line has {drawn} points, which is not what a panel received")
    return drawn


PROJECT = "bench"
QUERY_LIMIT_SECONDS = 600.0
FILTER_PARTS = ("tags", "metadata", "metric", "metric_labels")


@dataclass(frozen=True, slots=True)
class WorkspaceMeasurement:
    """One row of the table."""

    title: str
    snapshots: int
    points_of_a_line: int
    post_seconds: float
    disk_bytes: int
    start_seconds: float
    dashboard_seconds: tuple[float, ...]
    """One value per look, each with a new browser; the first is just after the start of the UI."""
    panel_seconds: dict[str, float]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The inputs that all workspaces share."""

    bodies: Bodies
    manifest: Manifest
    chromium: str
    looks: int


def measure_workspace(
    title: str, workspace: Workspace, windows: Sequence[PastWindow], bench: Bench, report: Callable[[str], None]
) -> WorkspaceMeasurement:
    """Post the windows' snapshots, run the maintenance, restart the UI and open its dashboard."""
    log = workspace.folder.with_suffix(".log")
    with running(workspace, log) as ui:
        post_seconds = _post(ui, windows, bench, report)
    if not workspace.plain:
        report("maintenance")
        _run_maintenance(workspace)
    report("looking")
    dashboard = build_dashboard(bench.manifest)
    lined = [panel for panel in dashboard["panels"] if panel["plot_params"]["plot_type"] == "line"]
    with running(workspace, log) as ui:
        page = f"{ui.url}/projects/{project_id_for(PROJECT)}"
        ends = (windows[0].end, windows[-1].end)
        screenshot = workspace.folder.with_suffix(".png")
        shown = [look(bench.chromium, page, len(lined), ends, screenshot) for _ in range(bench.looks)]
        panel_seconds = {panel["title"]: _query_seconds(ui, panel) for panel in dashboard["panels"] if panel["values"]}
        memory = ui.memory_bytes()
        started = ui.start_seconds
    return WorkspaceMeasurement(
        title,
        len(windows),
        shown[0].points_of_a_line,
        post_seconds / len(windows),
        workspace.disk_bytes(),
        started,
        tuple(one.seconds for one in shown),
        panel_seconds,
        memory,
    )


def _post(ui: RunningUI, windows: Sequence[PastWindow], bench: Bench, report: Callable[[str], None]) -> float:
    with EvidentlyClient(ui.url, None) as client:
        project = client.ensure_project(PROJECT, "A simulated past")
        client.ensure_dashboard(project, build_dashboard(bench.manifest))
        began = time.monotonic()
        for number, window in enumerate(windows):
            client.post_snapshot(project, bench.bodies.of(window))
            if number % 50 == 0:
                report(f"{number:,} of {len(windows):,} snapshots posted")
        return time.monotonic() - began


def _run_maintenance(workspace: Workspace) -> None:
    from evidently_workspace.ui.database import TunedDatabaseComponent  # noqa: PLC0415 - imports Evidently
    from evidently_workspace.ui.maintenance import Maintenance  # noqa: PLC0415 - imports Evidently

    engine = TunedDatabaseComponent(url=workspace.database_url).get_engine()
    Maintenance(engine, timedelta(days=FIGURES_DAYS), pause_seconds=0).run()
    engine.dispose()


def _query_seconds(ui: RunningUI, panel: dict[str, Any]) -> float:
    """Return the median time of three of a panel's queries, as the dashboard makes them."""
    body = json.dumps({"series_filter": [{name: line[name] for name in FILTER_PARTS} for line in panel["values"]]})
    address = f"{ui.url}/api/v2/snapshots/{project_id_for(PROJECT)}/data_series_batch"
    taken = []
    with closing(httpx.Client(timeout=QUERY_LIMIT_SECONDS)) as http:
        for _ in range(3):
            began = time.monotonic()
            http.post(address, content=body, headers={"content-type": "application/json"}).raise_for_status()
            taken.append(time.monotonic() - began)
    return median(taken)


def artifact_in(folder: Path) -> Path:
    """Train on iris, the smallest of the bundled data sets, and return the artifact's folder."""
    from model.data.bundled import load_bundled  # noqa: PLC0415 - imports scikit-learn
    from model.training.fit import train_model  # noqa: PLC0415 - imports scikit-learn

    train_model(load_bundled("iris"), folder)
    return folder
