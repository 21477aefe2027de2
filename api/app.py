"""Owns how the API is put together: `create_app` builds it, its lifespan opens and closes what it stands on."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from os import getpid
from secrets import token_hex

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from api import __version__
from api.alerts.notifier import Alertmanager, AlertNotifier, AlertRounds
from api.alerts.payload import REPEATS_OF_A_LIFE, Wording
from api.alerts.rules import Quorum
from api.metrics import Metrics
from api.middleware.admission import Admission
from api.middleware.auth import install_security
from api.middleware.body_limit import BodyLimit
from api.middleware.request_metrics import measure_requests
from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.reader import read_progress
from api.prediction_log.served_version import ServedVersionStore
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from api.problems import install_problem_handlers
from api.routes.health import health_routes
from api.routes.models import model_routes
from api.routes.pages import documentation_routes, landing_routes
from api.routes.predictions import install_openapi, prediction_routes
from api.routes.snapshots import snapshot_routes
from api.serving.data_plane import DataPlane
from api.serving.model_archive import ModelArchive
from api.serving.reload import ModelReloader, ModelWatcher
from api.serving.served_model import ServedModel
from api.settings import Settings
from api.snapshots.queries import SnapshotLinks, SnapshotQueries
from api.snapshots.scheduler import RetentionRounds, SnapshotScheduler
from api.snapshots.worker import SnapshotWorker, WorkerConfig
from api.status_probe import StatusProbe
from model.artifact.manifest import Manifest
from model.serving.predictor import AnyPredictor, load_predictor

DESCRIPTION = "Every prediction is logged before it is answered, and watched. Send its label when you know it."


@dataclass(frozen=True)
class _Parts:
    """What the API stands on."""

    database: Database
    writer: LogWriter
    scheduler: SnapshotScheduler
    probe: StatusProbe
    watcher: ModelWatcher


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> FastAPI:
    """Build the API for the model in ``settings.model_dir``.

    Nothing is opened until the app starts, but the model, whose schema the request types follow. Raises
    model.errors.ArtifactError where there is no sound model, BadKeys where the API keys cannot be read.
    """
    predictor = load_predictor(settings.model_dir)
    manifest = predictor.manifest
    metrics = Metrics(registry or CollectorRegistry())
    metrics.describe(log_queue_rows=settings.log_queue_rows)
    served = ServedModel(predictor)
    database = Database(settings.database_url.get_secret_value(), settings.log_timeout_seconds)
    writer = LogWriter(
        database,
        settings.log_queue_rows,
        metrics.observe_commit,
        metrics.observe_queue,
        timeout_seconds=settings.log_timeout_seconds,
        answer=served.respond,
    )
    store = WindowStore(database)
    project = settings.evidently_project or manifest.name  # whatever a later version is called
    links = SnapshotLinks(settings.api_url, settings.evidently_public_url or settings.evidently_url, project)
    notifier = _notifier(settings, store, manifest, links, metrics)
    alerts = AlertRounds(notifier.tell, settings.alert_repeat)
    lease = Lease(database, f"{socket.gethostname()[:32]}-{getpid()}-{token_hex(4)}", settings.heartbeat * 2)
    scheduler = _scheduler(settings, lease, store, alerts, metrics, project=project)
    probe = StatusProbe(
        metrics, settings.evidently_url, lease.held, lambda: read_progress(database), settings.heartbeat_seconds
    )
    plane = DataPlane(served, writer, metrics)
    reloader = ModelReloader(
        served, settings.model_dir, ServedVersionStore(database), metrics, ModelArchive(settings.reports_dir)
    )
    watcher = ModelWatcher(reloader, settings.heartbeat_seconds)
    queries = SnapshotQueries(
        store,
        interval=settings.snapshot_interval,
        reports_dir=settings.reports_dir,
        links=links,
        wake=scheduler.wake,
    )

    app: FastAPI = FastAPIOffline(
        title=f"Vigie: {manifest.name}",
        version=manifest.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        routes=prediction_routes(plane, settings.max_batch_rows),  # first: to find a route costs as much as to predict
        lifespan=_lifespan(_Parts(database, writer, scheduler, probe, watcher), settings.snapshots),
    )

    def refuse(reason: str) -> None:
        writer.count_rejection(metrics.reject(reason))

    install_openapi(app, plane, settings.max_batch_rows)
    install_problem_handlers(app, refuse)
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, max_seconds=settings.body_timeout_seconds, refuse=refuse
    )
    app.add_middleware(
        Admission, max_requests=settings.max_requests_in_progress, max_body_bytes=settings.max_body_bytes
    )
    install_security(app, settings, metrics)
    measure_requests(app, metrics)  # outermost, so that what is refused above is measured too
    app.include_router(health_routes(plane))
    app.include_router(model_routes(plane, reloader))
    app.include_router(snapshot_routes(queries))
    app.include_router(landing_routes(plane, queries, settings.grafana_url, lambda: probe.evidently_up))
    app.include_router(documentation_routes(app.title))

    def show(shown: AnyPredictor) -> None:
        metrics.describe_model(__version__, shown.manifest.name, shown.manifest.version, shown.engine)
        notifier.follow(shown.manifest.version)

    show(predictor)
    served.on_change(show)
    return app


def _lifespan(parts: _Parts, snapshots: bool):  # type: ignore[no-untyped-def] # Starlette's own alias is invariant
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        parts.database.migrate()
        parts.writer.start()
        parts.watcher.start()
        if snapshots:
            parts.scheduler.start()
            parts.probe.start()
        try:
            yield
        finally:
            parts.watcher.stop()
            parts.probe.stop()
            await parts.writer.close()
            parts.scheduler.stop()
            parts.database.dispose()

    return lifespan


def _notifier(
    settings: Settings, store: WindowStore, manifest: Manifest, links: SnapshotLinks, metrics: Metrics
) -> AlertNotifier:
    return AlertNotifier(
        store,
        manifest.version,
        quorum=Quorum(settings.alert_windows_failed, settings.alert_windows),
        wording=Wording(manifest.name, links, REPEATS_OF_A_LIFE * settings.alert_repeat),
        alertmanager=Alertmanager(settings.alertmanager_url) if settings.alertmanager_url else None,
        metrics=metrics,
    )


def _scheduler(
    settings: Settings, lease: Lease, store: WindowStore, alerts: AlertRounds, metrics: Metrics, *, project: str
) -> SnapshotScheduler:
    secret = settings.evidently_secret
    config = WorkerConfig(
        database_url=settings.database_url.get_secret_value(),
        model_dir=settings.model_dir,
        evidently_url=settings.evidently_url,
        evidently_secret=secret.get_secret_value() if secret is not None else None,
        evidently_timeout_seconds=settings.evidently_timeout_seconds,
        project_name=project,
        reports_dir=settings.reports_dir,
        min_rows=settings.snapshot_min_rows,
        min_labels=settings.snapshot_min_labels,
        max_rows=settings.snapshot_max_rows,
        windows_per_beat=settings.snapshot_windows_per_beat,
        policy=settings.policy,
        holder=lease.holder,
        heartbeat=settings.heartbeat,
    )

    def report(outcome: str) -> None:
        metrics.count_window(outcome)
        alerts.wake()

    worker = SnapshotWorker(config, report, settings.snapshot_timeout_seconds)
    retention = RetentionRounds(
        worker, metrics.observe_removals, timedelta(seconds=settings.retention_interval_seconds)
    )
    return SnapshotScheduler(
        store, lease, worker, alerts, retention, interval=settings.snapshot_interval, heartbeat=settings.heartbeat
    )
