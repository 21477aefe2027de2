"""Owns GET /: where everything is, and the newest windows at a glance."""

from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api.data_plane import DataPlane
from api.prediction_log.records import WindowRecord
from api.security.headers import POLICY, page_policy
from api.snapshots.board import SnapshotBoard
from model.manifest import ClassifierManifest, Manifest

PAGE = Template((Path(__file__).parent / "landing.html").read_text(encoding="utf-8"))
WINDOWS_SHOWN = 8


def landing_routes(plane: DataPlane, board: SnapshotBoard, grafana_url: str | None) -> APIRouter:
    """Build the route."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def landing() -> HTMLResponse:
        manifest = plane.manifest
        newest = board.latest_report()
        page = PAGE.substitute(
            model=escape(manifest.name),
            version=escape(manifest.version),
            rows=f"{manifest.data.train_rows:,}",
            quality=escape(_quality(manifest)),
            evidently=escape(board.project_url()),
            report=_place(
                f"reports/{newest.report_file}" if newest else None,
                "Newest report",
                "one window, as a page that needs nothing else",
            ),
            grafana=_place(grafana_url, "Grafana", "the API, its containers and its host"),
            windows=_table(board.newest(WINDOWS_SHOWN)),
        )
        return HTMLResponse(page, headers={POLICY: page_policy(page)})

    return router


def _quality(manifest: Manifest) -> str:
    if isinstance(manifest, ClassifierManifest):
        return f"test accuracy {manifest.quality.accuracy:.3f}"
    unit = f" {manifest.label_range.unit}" if manifest.label_range.unit else ""
    explained = "" if manifest.quality.r2 is None else f", R² {manifest.quality.r2:.3f}"
    return f"test mean absolute error {manifest.quality.mean_absolute_error:.4g}{unit}{explained}"


def _place(url: str | None, name: str, note: str) -> str:
    if url is None:
        return ""
    return f'<li><a href="{escape(url)}">{escape(name)}</a><span>{escape(note)}</span></li>'


def _table(windows: list[WindowRecord]) -> str:
    if not windows:
        return "<p>None yet: a window is closed when its time is over and something was logged in it.</p>"
    rows = "".join(
        f"<tr><td>{_linked(window)}</td><td>{_count(window.rows)}</td>"
        f"<td>{_count(window.labelled_rows)}</td><td>{window.status}</td><td>{_verdict(window)}</td></tr>"
        for window in windows
    )
    return (
        f"<table><tr><th>Window (UTC)</th><th>Rows</th><th>Labels</th><th>Status</th><th>Checks</th></tr>{rows}</table>"
    )


def _linked(window: WindowRecord) -> str:
    text = f"{window.start:%Y-%m-%d %H:%M:%S} to {window.end:%H:%M:%S}"
    return text if window.report_file is None else f'<a href="reports/{escape(window.report_file)}">{text}</a>'


def _verdict(window: WindowRecord) -> str:
    if window.failed_checks:
        failed = ", ".join(sorted({str(check["check"]) for check in window.failed_checks}))
        return f'<span class="failed">{escape(failed)}</span>'
    return "all passed" if window.status == "posted" else escape(window.reason or "")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
