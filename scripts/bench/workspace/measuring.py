"""Builds one workspace through the real client and UI, and measures how it feels to open it."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.ui import FIGURES_DAYS
from model.manifest import Manifest
from scripts.bench.workspace.bodies import Bodies
from scripts.bench.workspace.browser import look
from scripts.bench.workspace.history import PastWindow
from scripts.bench.workspace.server import RunningUI, Workspace, running

PROJECT = "bench"
QUERY_LIMIT_SECONDS = 600.0
FILTER_PARTS = ("tags", "metadata", "metric", "metric_labels")


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table."""

    title: str
    snapshots: int
    points_of_a_line: int
    post_seconds: float
    disk_bytes: int
    start_seconds: float
    dashboard_seconds: tuple[float, ...]
    """Of one look after the other, each with a browser of its own; the first is that of a UI just started."""
    panel_seconds: dict[str, float]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What all workspaces have in common."""

    bodies: Bodies
    manifest: Manifest
    chromium: str
    looks: int


def measure_workspace(
    title: str, workspace: Workspace, windows: Sequence[PastWindow], bench: Bench, told: Callable[[str], None]
) -> Measured:
    """Post the windows' snapshots, let the upkeep do its round, start the UI anew and look at it."""
    log = workspace.folder.with_suffix(".log")
    with running(workspace, log) as ui:
        post_seconds = _post(ui, windows, bench, told)
    if not workspace.plain:
        told("upkeep")
        _tend(workspace)
    told("looking")
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
    return Measured(
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


def _post(ui: RunningUI, windows: Sequence[PastWindow], bench: Bench, told: Callable[[str], None]) -> float:
    with EvidentlyClient(ui.url, None) as client:
        project = client.ensure_project(PROJECT, "A simulated past")
        client.ensure_dashboard(project, build_dashboard(bench.manifest))
        began = time.monotonic()
        for number, window in enumerate(windows):
            client.post_snapshot(project, bench.bodies.of(window))
            if number % 50 == 0:
                told(f"{number:,} of {len(windows):,} snapshots posted")
        return time.monotonic() - began


def _tend(workspace: Workspace) -> None:
    from evidently_workspace.ui_database import TunedDatabaseComponent  # noqa: PLC0415 - imports Evidently
    from evidently_workspace.ui_upkeep import Upkeep  # noqa: PLC0415 - imports Evidently

    engine = TunedDatabaseComponent(url=workspace.database_url).get_engine()
    Upkeep(engine, timedelta(days=FIGURES_DAYS), pause_seconds=0).tend()
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
    from model.bundled import load_bundled  # noqa: PLC0415 - imports scikit-learn
    from model.training import train_model  # noqa: PLC0415 - imports scikit-learn

    train_model(load_bundled("iris"), folder)
    return folder
