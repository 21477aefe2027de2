"""GET and POST /snapshots, GET /snapshots/metrics, and the HTML reports."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path as FolderPath
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from api.hosted_models import HostedModel, HostedModels
from api.middleware.headers import POLICY, REPORT
from api.prediction_log.records import WindowRecord, WindowStatus
from api.problems import problem_responses
from api.routes.models import model_of_call
from api.schemas import (
    AlarmState,
    ChangedRow,
    ChangedRows,
    MetricSeriesList,
    RecordedWindow,
    ReferenceState,
    SnapshotWindow,
    SnapshotWindows,
)
from api.serving.responses import answer_reader
from api.snapshots.queries import Points, SnapshotQueries, find_report
from evidently_workspace.checks import CheckName

DAY_PATTERN = r"^\d{4}-\d{2}-\d{2}$"
DAY = timedelta(days=1)
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL cannot compare a text that contains NUL."""
MAX_SKIPPED = 1_000_000_000
MAX_CHANGED_ROWS = 500
REPORT_NAME = r"^[0-9A-Za-z_.-]{1,160}\.html$"


def snapshot_routes(models: HostedModels, public_url: str | None = None) -> APIRouter:
    """Build the routes of each model, which are those of the default model too.

    Links begin with the ``public_url``, or with the address of the request. The routes read the database, so they run
    on a thread.
    """
    router = APIRouter(tags=["snapshots"])
    named = Annotated[HostedModel, Depends(model_of_call(models))]
    one_at_a_time = asyncio.Lock()  # long series are large, and take time from predictions

    def with_links(request: Request, queries: SnapshotQueries, window: WindowRecord) -> SnapshotWindow:
        report = None
        if window.report_file is not None:
            day, _, name = window.report_file.partition("/")
            if public_url is None:
                report = str(request.url_for("report", day=day, name=name))
            else:
                report = f"{public_url.rstrip('/')}/reports/{day}/{name}"
        steps = [{**failed, "next_step": queries.next_step(failed, window)} for failed in window.failed_checks]
        recorded = RecordedWindow.model_validate(
            replace(window, failed_checks=steps, muted_checks=window.muted_checks or [])
        )
        return SnapshotWindow(**dict(recorded), report_url=report, evidently_url=queries.evidently_url(window))

    @router.get("/snapshots", summary="The newest windows", responses=problem_responses(422, 503))
    def windows(
        request: Request,
        model: named,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        status: Annotated[WindowStatus | None, Query(description="Only windows of this status.")] = None,
    ) -> SnapshotWindows:
        queries, manifest = model.monitoring.queries, model.serving.plane.manifest
        state = queries.alarms(manifest)
        return SnapshotWindows(
            windows=[with_links(request, queries, window) for window in queries.newest(limit, status)],
            alarms=AlarmState(
                kind=manifest.alarms,
                version=state.version,
                learning=state.statistics,
                learned_days=state.learned / DAY,
                learning_days=state.period / DAY,
                reference=None if state.reference is None else ReferenceState(**state.reference._asdict()),
            ),
        )

    @router.post(
        "/snapshots",
        status_code=202,
        summary="Take a snapshot of what was logged since the last window",
        responses=problem_responses(409, 422, 503),
    )
    def take(
        request: Request,
        model: named,
        force: Annotated[
            bool, Query(description="Close the window even with too little in it to be measured.")
        ] = False,
    ) -> SnapshotWindow:
        queries = model.monitoring.queries
        return with_links(request, queries, queries.close_now(force=force))

    @router.get(
        "/snapshots/{start}/rows",
        summary="The rows that carry what a window's failed checks found",
        responses=problem_responses(404, 422, 503),
    )
    def rows(
        model: named,
        start: Annotated[datetime, Path(description="When the window starts, as GET /snapshots says it.")],
        check: Annotated[CheckName | None, Query(description="Only this check.")] = None,
        column: Annotated[str | None, Query(pattern=NO_NUL, description="Only this column.")] = None,
        limit: Annotated[
            int, Query(ge=1, le=MAX_CHANGED_ROWS, description="Most rows in all; the failed checks share them.")
        ] = 20,
    ) -> ChangedRows:
        found = model.monitoring.queries.rows(start, check, column, limit)
        read = answer_reader(model.serving.plane.manifest)
        return ChangedRows(
            rows=[
                ChangedRow.model_validate(
                    {**asdict(row), "prediction": read(row.prediction), "label": row.label and read(row.label)}
                )
                for row in found
            ]
        )

    @router.get(
        "/snapshots/metrics",
        summary="The values of the windows over time",
        response_model=MetricSeriesList,
        responses=problem_responses(422, 503),
    )
    async def metrics(  # noqa: PLR0917 - FastAPI hands over query parameters by name
        model: named,
        name: Annotated[str | None, Query(pattern=NO_NUL, description="Only this metric, such as data_drift.")] = None,
        column: Annotated[str | None, Query(pattern=NO_NUL, description="Only this column.")] = None,
        start: Annotated[
            datetime | None, Query(alias="from", description="Windows that start at or after this.")
        ] = None,
        end: Annotated[datetime | None, Query(alias="to", description="Windows that start before this.")] = None,
        limit: Annotated[int, Query(ge=1, le=100_000, description="Most values in one response.")] = 10_000,
        skip: Annotated[
            int, Query(ge=0, le=MAX_SKIPPED, description="Newest values to leave out; page with skip and limit.")
        ] = 0,
    ) -> Response:
        queries = model.monitoring.queries
        async with one_at_a_time:
            content = await run_in_threadpool(
                lambda: _series_json(queries.series(name, column, start, end, limit=limit, skip=skip))
            )
        return Response(content, media_type="application/json")

    return router


def report_routes(reports_dir: FolderPath) -> APIRouter:
    """Build the route of the reports of all models."""
    router = APIRouter(tags=["snapshots"])

    @router.get(
        "/reports/{day}/{name}",
        summary="A window's HTML report",
        response_class=HTMLResponse,
        responses=problem_responses(404, 422),
    )
    def report(
        day: Annotated[str, Path(pattern=DAY_PATTERN)], name: Annotated[str, Path(pattern=REPORT_NAME)]
    ) -> HTMLResponse:
        return HTMLResponse(find_report(reports_dir, day, name), headers={POLICY: REPORT})

    return router


def _series_json(series: Mapping[tuple[str, str], Points]) -> bytes:
    """Return a `MetricSeriesList` as JSON; to make a model of each of 100,000 values would hold up predictions."""
    listed = [
        {
            "name": name,
            "column": column or None,
            "points": [{"start": start, "end": end, "value": value} for start, end, value in points],
        }
        for (name, column), points in series.items()
    ]
    return orjson.dumps({"series": listed}, option=orjson.OPT_UTC_Z)
