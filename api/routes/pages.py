"""GET / and GET /docs, from local files only."""

from collections.abc import Callable
from datetime import timedelta
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from api.errors import LogUnavailable
from api.middleware.headers import POLICY, page_policy
from api.prediction_log.windows import WindowRun
from api.routes.health import check_ready
from api.serving.data_plane import DataPlane
from api.snapshots.learning import LearningState
from api.snapshots.queries import SnapshotQueries
from model.artifact.manifest import ClassifierManifest, Manifest

ASSETS = "/static-offline-docs"
SWAGGER_PARAMETERS = {"tryItOutEnabled": True, "displayRequestDuration": True, "defaultModelsExpandDepth": 0}


def documentation_routes(title: str) -> APIRouter:
    """Build the route."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def documentation(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = _swagger_page(root, escape(title))
        # of a page without the title, so that no script that the title might bring with it is allowed to run
        page.headers[POLICY] = page_policy(bytes(_swagger_page(root, "").body).decode())
        return page

    return router


def _swagger_page(root: str, title: str) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title=title,
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
        swagger_ui_parameters=SWAGGER_PARAMETERS,
    )


PAGE = Template((Path(__file__).parent / "landing.html").read_text(encoding="utf-8"))
PAGE_POLICY = page_policy(PAGE.template)
"""Of the template, so that no script that a value might bring with it is allowed to run."""
MAX_WINDOWS = 8
SHARED = "; the project may also show the windows of other prediction logs"
EVIDENTLY_STATUS = {
    True: ("well", "answers"),
    False: ("failed", "does not answer; windows wait, and are posted in order once it does"),
    None: ("unknown", "not checked by this process"),
}


def landing_routes(
    plane: DataPlane,
    queries: SnapshotQueries,
    grafana_url: str | None,
    evidently_up: Callable[[], bool | None],
    *,
    shared_project: bool = False,
) -> APIRouter:
    """Build the route.

    ``evidently_up`` returns whether Evidently UI answers, None if this process does not check; ``shared_project`` says
    whether other logs may show their windows in the same project.
    """
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def landing() -> HTMLResponse:
        try:
            await check_ready(plane)
            newest, windows, alarms = await run_in_threadpool(
                lambda: (queries.latest_report(), queries.newest_runs(MAX_WINDOWS), queries.alarms(plane.manifest))
            )
            failure_reason, table = None, _learning(alarms) + _table(windows)
        except LogUnavailable as error:  # the page shows it
            newest, failure_reason, table = None, str(error), "<p>Unknown while the log does not answer.</p>"
        manifest = plane.manifest
        page = PAGE.substitute(
            model=escape(manifest.name),
            version=escape(manifest.version),
            rows=f"{manifest.data.train_rows:,}",
            quality=escape(_quality(manifest)),
            evidently=escape(queries.project_url()),
            shared=SHARED if shared_project else "",
            report=_link(
                f"reports/{newest.report_file}" if newest else None,
                "Newest report",
                "one window, as a page that works offline",
            ),
            grafana=_link(grafana_url, "Grafana", "the API, its containers and its host"),
            status=status_lines(failure_reason, evidently_up()),
            windows=table,
        )
        return HTMLResponse(page, headers={POLICY: PAGE_POLICY})

    return router


def _quality(manifest: Manifest) -> str:
    if isinstance(manifest, ClassifierManifest):
        return f"test accuracy {manifest.quality.accuracy:.3f}"
    unit = f" {manifest.label_range.unit}" if manifest.label_range.unit else ""
    explained = "" if manifest.quality.r2 is None else f", R² {manifest.quality.r2:.3f}"
    return f"test mean absolute error {manifest.quality.mean_absolute_error:.4g}{unit}{explained}"


def status_lines(failure_reason: str | None, evidently_up: bool | None) -> str:
    """Return the status of the API, which is ready if there is no ``failure_reason``, and of Evidently UI."""
    api = ("well", "ready") if failure_reason is None else ("failed", f"not ready: {failure_reason}")
    evidently = EVIDENTLY_STATUS[evidently_up]
    return "".join(
        f'<li class="{style}"><b>{name}</b> {escape(text)}</li>'
        for name, (style, text) in (("API", api), ("Evidently UI", evidently))
    )


def _link(url: str | None, name: str, note: str) -> str:
    if url is None:
        return ""
    return f'<li><a href="{escape(url)}">{escape(name)}</a><span>{escape(note)}</span></li>'


def _table(runs: list[WindowRun]) -> str:
    if not runs:
        return "<p>None yet: the first one appears when its time is over and something was logged in it.</p>"
    rows = "".join(
        f"<tr><td>{_window_link(run)}</td><td>{_count(run.window.rows)}</td>"
        f"<td>{_count(run.window.labelled_rows)}</td><td>{run.window.status}</td><td>{_verdict(run)}</td></tr>"
        for run in runs
    )
    return (
        f"<table><tr><th>Window (UTC)</th><th>Rows</th><th>Labels</th><th>Status</th><th>Checks</th></tr>{rows}</table>"
    )


def _learning(state: LearningState) -> str:
    if not state.is_learning:
        return ""
    learned, period = (length / timedelta(days=1) for length in (state.learned, state.period))
    return (
        f"<p>The alarms are learning what is usual: {learned:.1f} of {period:g} days. "
        "Until then only gross changes fail a check.</p>"
    )


def _window_link(run: WindowRun) -> str:
    window = run.window
    day = "" if window.start.date() == window.end.date() else "%Y-%m-%d "
    text = f"{window.start:%Y-%m-%d %H:%M:%S} to {window.end:{day}%H:%M:%S}"
    return text if window.report_file is None else f'<a href="reports/{escape(window.report_file)}">{text}</a>'


def _verdict(run: WindowRun) -> str:
    window = run.window
    if run.windows > 1:
        return f"{run.windows:,} windows with too little data in a row"
    if window.failed_checks:
        failed = ", ".join(sorted({str(check["check"]) for check in window.failed_checks}))
        return f'<span class="failed">{escape(failed)}</span>'
    return "all passed" if window.status == "posted" else escape(window.reason or "")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
