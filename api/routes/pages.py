"""GET / and GET /docs, from local files only."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from api.errors import LogUnavailable
from api.hosted_models import HostedModel, HostedModels
from api.middleware.headers import POLICY, page_policy
from api.prediction_log.alarm_changes import AlarmChange
from api.prediction_log.records import WindowStatus
from api.prediction_log.windows import WindowRun
from api.prediction_log.writer import LogWriter
from api.routes.health import check_ready
from api.settings import Settings
from api.snapshots.health import Health
from api.snapshots.learning import LearningState
from api.snapshots.queries import SnapshotQueries
from evidently_workspace.panels import written
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
ADDRESS = re.compile(r"https?://[^\s;]+/rows\?(?:&amp;|[^\s;])+")
SHARED = "; the project may also show the windows of other prediction logs"
GRAFANA = "the API, its containers and its host"
UNKNOWN = "<p>Unknown while the log does not answer.</p>"
HEADER = "<tr><th>Model</th><th>Version</th><th>Newest window (UTC)</th><th>Checks</th><th></th></tr>"
HEALTH_STYLES = {True: "well", False: "failed", None: "unknown"}
EVIDENTLY_STATUS = {
    True: ("well", "answers"),
    False: ("failed", "does not answer; windows wait, and are posted in order once it does"),
    None: ("unknown", "not checked by this process"),
}


def landing_routes(
    settings: Settings, writer: LogWriter, models: HostedModels, evidently_up: Callable[[], bool | None]
) -> APIRouter:
    """Build the route. ``evidently_up`` returns whether Evidently UI answers, None if this process does not check."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def landing(request: Request) -> HTMLResponse:
        if not models.is_single:
            return await _page_of_models(settings, writer, models.visible_to(request.scope), models, evidently_up())
        plane, queries = models.find().serving.plane, models.find().monitoring.queries
        try:
            await check_ready(writer)
            newest, windows, alarms, health = await run_in_threadpool(
                lambda: (
                    queries.latest_report(),
                    queries.newest_runs(MAX_WINDOWS),
                    queries.alarms(plane.manifest),
                    queries.health(),
                )
            )
            told = await run_in_threadpool(_notified, settings, [models.find()])
            changed = await run_in_threadpool(_changed, models.find())
            steps = _next_steps(windows, queries)
            failure_reason, table = None, _learning(alarms) + steps + changed + _table(windows)
            first_line = _health(health)
        except LogUnavailable as error:  # the page shows it
            newest, failure_reason, table, told, first_line = None, str(error), UNKNOWN, "", ""
        manifest = plane.manifest
        page = PAGE.substitute(
            title=escape(manifest.name),
            heading=f"Vigie watches <em>{escape(manifest.name)}</em>",
            about=f"version {escape(manifest.version)}, {_origin(manifest)}, {escape(_quality(manifest))}",
            health=_link(
                queries.project_url(),
                "Model health",
                f"drift, quality and performance in Evidently UI{SHARED if settings.evidently_share_project else ''}",
            ),
            json=_link("snapshots", "Windows as JSON", "every window and the checks it failed"),
            report=_link(
                f"reports/{newest.report_file}" if newest else None,
                "Newest report",
                "one window, as a page that works offline",
            ),
            grafana=_link(settings.grafana_url, "Grafana", GRAFANA),
            status=status_lines(failure_reason, evidently_up()) + told,
            models=first_line,
            content=f"<h2>Newest windows</h2>\n{table}",
        )
        return HTMLResponse(page, headers={POLICY: PAGE_POLICY})

    return router


async def _page_of_models(
    settings: Settings,
    writer: LogWriter,
    shown: Sequence[HostedModel],
    models: HostedModels,
    evidently_up: bool | None,
) -> HTMLResponse:
    """Return the page that lists several models with their state."""
    try:
        await check_ready(writer)
        rows = await run_in_threadpool(lambda: [_row(model, models.default) for model in shown])
        told = await run_in_threadpool(_notified, settings, [model for model in shown if model.serves])
        failure_reason, table = None, f"<table>{HEADER}{''.join(rows)}</table>"
    except LogUnavailable as error:
        failure_reason, table, told = str(error), UNKNOWN, ""
    if failure_reason is None and not models.serving():
        failure_reason = "none of the models can serve"
    serving = sum(model.serves for model in shown)
    elsewhere = sum(model.manifest is not None and model.manifest.is_watched for model in shown if model.serves)
    home = settings.evidently_link.rstrip("/")
    page = PAGE.substitute(
        title=f"{len(shown)} models",
        heading=f"Vigie watches <em>{len(shown)} models</em>",
        about=(f"{serving} of them serve" if serving < len(shown) else "all of them serve")
        + (f", {elsewhere} of them elsewhere" if elsewhere else ""),
        health=_link(home, "Model health", "drift, quality and performance in Evidently UI, a project for each model"),
        json=_link("models", "Models as JSON", "every model, whether it serves, and the checks it failed"),
        report="",
        grafana=_link(settings.grafana_url, "Grafana", GRAFANA),
        status=status_lines(failure_reason, evidently_up) + told,
        models=f'<div class="models">{table}</div>',
        content="",
    )
    return HTMLResponse(page, headers={POLICY: PAGE_POLICY})


def _row(model: HostedModel, default: str | None) -> str:
    """Return the row of one model in the table of several. Raises LogUnavailable."""
    name = escape(model.name) + (" <span>default</span>" if model.name == default else "")
    if not model.serves:
        reason = f'<span class="failed">disabled</span> {escape(model.error or "")}'
        return f'<tr><td>{name}</td><td colspan="4">{reason}</td></tr>'
    queries, manifest = model.monitoring.queries, model.serving.plane.manifest
    runs, report = queries.newest_runs(1), queries.latest_report()
    window = (_window_text(runs[0]), _verdict(runs[0]) or runs[0].window.status) if runs else ("none yet", "")
    if runs:
        verdict = _health(queries.health()) + _next_steps(runs, queries) + _changed(model)
        window = (window[0], window[1] + verdict)
    links = [
        _anchor(f"models/{model.name}/snapshots", "windows"),
        *([_anchor(f"reports/{report.report_file}", "report")] if report else []),
        _anchor(queries.project_url(), "health"),
    ]
    served = f"{_origin(manifest)}, " if manifest.is_watched else ""
    about = f"{escape(manifest.version)}<br>{served}{escape(_quality(manifest))}"
    cells = (name, about, window[0], window[1], " ".join(links))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _health(health: Health) -> str:
    """Return whether all is well, since when, and what failed, for people."""
    return f'<p class="health {HEALTH_STYLES[health.well]}">{escape(health.sentence)}</p>'


def _anchor(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'


def _origin(manifest: Manifest) -> str:
    return "served elsewhere" if manifest.is_watched else f"{manifest.data.train_rows:,} training rows"


def _quality(manifest: Manifest) -> str:
    if isinstance(manifest, ClassifierManifest):
        return f"test accuracy {manifest.quality.accuracy:.3f}"
    unit = f" {manifest.label_range.unit}" if manifest.label_range.unit else ""
    explained = "" if manifest.quality.r2 is None else f", R² {manifest.quality.r2:.3f}"
    return f"test mean absolute error {written(manifest.quality.mean_absolute_error)}{unit}{explained}"


def status_lines(failure_reason: str | None, evidently_up: bool | None) -> str:
    """Return the status of the API, which is ready if there is no ``failure_reason``, and of Evidently UI."""
    api = ("well", "ready") if failure_reason is None else ("failed", f"not ready: {failure_reason}")
    return _status_line("API", *api) + _status_line("Evidently UI", *EVIDENTLY_STATUS[evidently_up])


def _status_line(name: str, style: str, text: str) -> str:
    return f'<li class="{style}"><b>{name}</b> {escape(text)}</li>'


def _notified(settings: Settings, models: Sequence[HostedModel]) -> str:
    """Return the status of the addresses for notifications, empty where there are none. Raises LogUnavailable."""
    if settings.notify_urls is None:
        return ""
    states = [state for model in models for state in model.monitoring.notified.states()]
    failing = [state for state in states if state.error is not None]
    told = [state.told_at for state in states if state.told_at is not None]
    if failing:
        worst = max(failing, key=lambda state: state.tries)
        services = ", ".join(sorted({state.service for state in failing}))
        again = "" if worst.retry_at is None else f", next at {worst.retry_at:%H:%M:%S} UTC"
        text = f"{services} did not accept a message: {worst.error}; tried {_times(worst.tries)}{again}"
        return _status_line("Notifications", "failed", text)
    last = f"the last one was sent {max(told):%Y-%m-%d %H:%M} UTC" if told else "none had to be sent yet"
    return _status_line("Notifications", "well", last)


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
    own = "" if state.reference is None else f"<p>The reference is {escape(state.reference.text)}.</p>"
    if not state.is_learning:
        return own
    learned, period = (length / timedelta(days=1) for length in (state.learned, state.period))
    return (
        f"{own}<p>The alarms are learning what is usual: {learned:.1f} of {period:g} days. "
        "Until then only gross changes fail a check.</p>"
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _next_steps(runs: Sequence[WindowRun], queries: SnapshotQueries) -> str:
    """Return what to do about the newest measured window, for the first column of each check that it failed."""
    newest = next((run.window for run in runs if run.window.status == WindowStatus.POSTED), None)
    if newest is None:
        return ""
    first = {str(failed["check"]): failed for failed in reversed(newest.failed_checks)}
    return "".join(
        f'{_cause(failed)}<p class="step"><b>Next step for {escape(name.replace("_", " "))}:</b> '
        f"{_linked(queries.next_step(failed, newest))}</p>"
        for name, failed in reversed(first.items())
    )


def _cause(failed: Mapping[str, Any]) -> str:
    """Return why a check failed, where that is known."""
    if not failed.get("cause"):
        return ""
    return f'<p class="step"><b>Cause of {escape(failed["check"].replace("_", " "))}:</b> {escape(failed["cause"])}</p>'


def _changed(model: HostedModel) -> str:
    """Return the mutes and thresholds that people set for a model and that hold now. Raises LogUnavailable."""
    changes, version = model.monitoring.changes, model.serving.plane.manifest.version
    lines = [(f"{_what(mute)} muted until {mute.until:%Y-%m-%d %H:%M} UTC", mute) for mute in changes.mutes()] + [
        (f"threshold of {_what(one)} set to {written(one.value)}", one)
        for one in changes.thresholds(version)
        if one.value is not None
    ]
    return "".join(
        f'<p class="step">{escape(text)}: {escape(change.reason)} '
        f"<span>{escape(change.made_by)}, no. {change.id}</span></p>"
        for text, change in lines
    )


def _what(change: AlarmChange) -> str:
    """Return what a change is about, such as "data quality (missing) of age"."""
    check = "all checks" if change.check is None else change.check.replace("_", " ")
    measure = "" if change.measure in {None, change.check} else f" ({change.measure.replace('_', ' ')})"
    return f"{check}{measure}" + ("" if change.column is None else f" of {change.column}")


def _linked(text: str) -> str:
    """Return a text as HTML with its first address, where the rows are, as a link."""
    return ADDRESS.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(text), count=1)


def _window_text(run: WindowRun) -> str:
    window = run.window
    day = "" if window.start.date() == window.end.date() else "%Y-%m-%d "
    return f"{window.start:%Y-%m-%d %H:%M:%S} to {window.end:{day}%H:%M:%S}"


def _window_link(run: WindowRun) -> str:
    text, report = _window_text(run), run.window.report_file
    return text if report is None else f'<a href="reports/{escape(report)}">{text}</a>'


def _verdict(run: WindowRun) -> str:
    window = run.window
    if run.windows > 1:
        return f"{run.windows:,} windows with too little data in a row"
    muted = f" <span>{len(window.muted_checks)} muted</span>" if window.muted_checks else ""
    if window.failed_checks:
        failed = ", ".join(sorted({str(check["check"]) for check in window.failed_checks}))
        return f'<span class="failed">{escape(failed)}</span>{muted}'
    return f"all passed{muted}" if window.status == "posted" else escape(window.reason or "")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
