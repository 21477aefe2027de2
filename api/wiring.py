"""Puts the program together: what the app, the snapshot worker and the commands are made of.

What needs Evidently or pandas is imported inside the functions that build it: the process that answers requests imports
this module too.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from api.alerts.notifier import Alertmanager, AlertNotifier
from api.alerts.payload import REPEATS_PER_LIFETIME, Wording
from api.alerts.rules import Quorum
from api.metrics import Metrics
from api.prediction_log.alarms import AlarmLog
from api.prediction_log.database import Database
from api.prediction_log.expiry import LogExpiry
from api.prediction_log.lease import Lease, new_holder, retention_lease, snapshot_lease
from api.prediction_log.reader import read_progress
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.served_version import ServedVersionStore
from api.prediction_log.windows import MinimalWindow, WindowStore
from api.prediction_log.writer import LogWriter
from api.serving.data_plane import DataPlane
from api.serving.model_archive import ModelArchive
from api.serving.reload import ModelReloader
from api.serving.served_model import ServedModel
from api.settings import Settings
from api.snapshots.learning import ServiceAlarms
from api.snapshots.queries import SnapshotLinks, SnapshotQueries
from api.snapshots.retention import Retention, SnapshotRepair
from api.snapshots.scheduler import (
    ALERTS,
    HEARTBEAT,
    MODEL_RELOAD,
    RETENTION,
    STATUS,
    JobScheduler,
    SnapshotHeartbeat,
    StatusProbe,
)
from api.snapshots.worker import BuildContext, SnapshotWorker, WorkerContext, retention_seconds
from evidently_workspace.client import EvidentlyClient
from model.artifact.manifest import Manifest
from model.serving.predictor import AnyPredictor, load_predictor

if TYPE_CHECKING:  # it imports pandas
    from api.snapshots.measure import WindowEvaluator

FIRST_RETENTION_AFTER = timedelta(minutes=1)
"""A process that never lives for an interval still removes what is old; a start has other things to do first."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers requests for one model."""

    served: ServedModel
    writer: LogWriter
    plane: DataPlane
    reloader: ModelReloader


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What watches one model: its snapshots, its alerts, and the state of what it needs."""

    queries: SnapshotQueries
    notifier: AlertNotifier
    status: StatusProbe
    heartbeat: SnapshotHeartbeat


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a process of the API consists of, put together and not yet started."""

    predictor: AnyPredictor
    metrics: Metrics
    database: Database
    serving: Serving
    monitoring: Monitoring
    scheduler: JobScheduler

    def start(self) -> None:
        """Migrate the log, then start what works beside the requests. Raises LogUnavailable."""
        self.database.migrate()
        self.serving.writer.start()
        self.serving.reloader.start()
        self.scheduler.start()

    async def stop(self) -> None:
        """Commit what was accepted, stop the jobs and the worker, and close what is open."""
        await self.serving.writer.close()
        self.scheduler.stop()
        self.monitoring.heartbeat.stop()
        self.monitoring.status.close()
        self.database.dispose()


def build_runtime(settings: Settings, registry: CollectorRegistry) -> Runtime:
    """Put together a process that serves the model in ``settings.model_dir``; only the model is read.

    Raises model.errors.ArtifactError where there is no valid model.
    """
    predictor = load_predictor(settings.model_dir)
    metrics = Metrics(registry)
    metrics.describe(log_queue_rows=settings.log_queue_rows)
    metrics.link_evidently(settings.evidently_link)
    database = build_database(settings, settings.log_timeout_seconds)
    serving = _build_serving(settings, predictor, database, metrics)
    scheduler = JobScheduler(metrics)
    monitoring = _build_monitoring(settings, predictor.manifest, database, scheduler, metrics)
    scheduler.add(MODEL_RELOAD, serving.reloader.check_announced, settings.heartbeat)
    if settings.snapshots:
        _add_snapshot_jobs(settings, scheduler, monitoring)
    return Runtime(predictor, metrics, database, serving, monitoring, scheduler)


def _build_serving(settings: Settings, predictor: AnyPredictor, database: Database, metrics: Metrics) -> Serving:
    served = ServedModel(predictor)
    writer = LogWriter(
        database,
        settings.log_queue_rows,
        metrics.observe_commit,
        metrics.observe_queue,
        timeout_seconds=settings.log_timeout_seconds,
        respond=served.respond,
    )
    archive = ModelArchive(settings.reports_dir)
    reloader = ModelReloader(served, settings.model_dir, ServedVersionStore(database), metrics, archive)
    return Serving(served, writer, DataPlane(served, writer, metrics), reloader)


def _build_monitoring(
    settings: Settings, manifest: Manifest, database: Database, scheduler: JobScheduler, metrics: Metrics
) -> Monitoring:
    store = WindowStore(database)
    project = settings.evidently_project or manifest.name  # it stays, whatever the name of a later version is
    links = SnapshotLinks(settings.api_url, settings.evidently_link, project)
    lease = snapshot_lease(database, new_holder(), settings.heartbeat)
    build_context = partial(build_worker_context, settings, project, lease.holder)
    queries = SnapshotQueries(
        store,
        interval=settings.snapshot_interval,
        enough=MinimalWindow(settings.snapshot_min_rows, settings.snapshot_min_labels),
        reports_dir=settings.reports_dir,
        links=links,
        alarms=build_service_alarms(settings, database),
        wake=partial(scheduler.wake, HEARTBEAT),
    )
    return Monitoring(
        queries,
        _build_notifier(settings, store, manifest, links, metrics),
        StatusProbe(
            metrics, settings.evidently_url, lease.held, partial(read_progress, database, settings.snapshot_interval)
        ),
        _build_heartbeat(settings, store, lease, scheduler, metrics, build_context=build_context),
    )


def _build_notifier(
    settings: Settings, store: WindowStore, manifest: Manifest, links: SnapshotLinks, metrics: Metrics
) -> AlertNotifier:
    return AlertNotifier(
        store,
        manifest.version,
        quorum=Quorum(settings.alert_windows_failed, settings.alert_windows),
        wording=Wording(manifest.name, links, REPEATS_PER_LIFETIME * settings.alert_repeat),
        alertmanager=Alertmanager(settings.alertmanager_url) if settings.alertmanager_url else None,
        metrics=metrics,
    )


def _build_heartbeat(
    settings: Settings,
    store: WindowStore,
    lease: Lease,
    scheduler: JobScheduler,
    metrics: Metrics,
    *,
    build_context: BuildContext,
) -> SnapshotHeartbeat:
    def report(outcome: str) -> None:
        metrics.count_window(outcome)
        scheduler.wake(ALERTS)

    return SnapshotHeartbeat(
        store,
        lease,
        SnapshotWorker(build_context, report, settings.snapshot_timeout_seconds),
        window=settings.snapshot_interval,
        interval=settings.heartbeat,
        lease_gained=partial(scheduler.wake, ALERTS),
        run_again_in=partial(scheduler.run_in, HEARTBEAT),
        report_removals=metrics.observe_removals,
    )


def _add_snapshot_jobs(settings: Settings, scheduler: JobScheduler, monitoring: Monitoring) -> None:
    heartbeat = monitoring.heartbeat

    def notify_while_the_lease_is_held() -> None:
        if heartbeat.lease_held:
            monitoring.notifier.notify()

    at_once = timedelta(0)
    retention_interval = timedelta(seconds=settings.retention_interval_seconds)
    scheduler.add(HEARTBEAT, heartbeat.run, settings.heartbeat, at_once)
    scheduler.add(STATUS, monitoring.status.look, settings.heartbeat, at_once)
    scheduler.add(ALERTS, notify_while_the_lease_is_held, settings.alert_repeat)
    scheduler.add(
        RETENTION, heartbeat.request_retention, retention_interval, min(FIRST_RETENTION_AFTER, retention_interval)
    )


@lru_cache(maxsize=1)
def build_worker_context(settings: Settings, project: str, holder: str) -> WorkerContext:
    """Return what the worker process keeps, for that project of Evidently UI and that holder of the lease.

    Raises model.errors.ArtifactError.
    """
    from api.snapshots.project import HealthProject  # noqa: PLC0415 - Evidently takes seconds, and only the worker needs it
    from api.snapshots.window_job import WindowProcessor  # noqa: PLC0415 - as above

    database = build_database(settings)
    client = build_evidently_client(settings)
    evaluator = build_evaluator(settings, database)
    health_project = HealthProject(
        client, evaluator.manifest, project, database.log_id, shared=settings.evidently_share_project
    )
    processor = WindowProcessor(
        WindowStore(database),
        snapshot_lease(database, holder, settings.heartbeat),
        client,
        health_project,
        evaluator.evaluate,
        reports_dir=settings.reports_dir,
        learn=evaluator.learn,
    )
    return WorkerContext(
        health_project,
        processor,
        build_retention(settings, database, client, project, holder),
        windows_per_heartbeat=settings.snapshot_windows_per_beat,
        retention_seconds=retention_seconds(settings.heartbeat),
    )


def build_database(settings: Settings, timeout_seconds: float = 5.0) -> Database:
    """Return the prediction log's database, which is not yet connected."""
    return Database(settings.database_url.get_secret_value(), timeout_seconds)


def build_evidently_client(settings: Settings) -> EvidentlyClient:
    """Return a client of Evidently UI."""
    secret = settings.evidently_secret
    return EvidentlyClient(
        settings.evidently_url,
        None if secret is None else secret.get_secret_value(),
        settings.evidently_timeout_seconds,
    )


def build_evaluator(settings: Settings, database: Database) -> "WindowEvaluator":
    """Return what measures a stretch of the log. Raises model.errors.ArtifactError."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently reports its use otherwise
    from api.snapshots.measure import SampleLimits, WindowEvaluator  # noqa: PLC0415 - it imports Evidently, which takes seconds

    limits = SampleLimits(settings.snapshot_min_rows, settings.snapshot_min_labels, settings.snapshot_max_rows)
    alarms = build_service_alarms(settings, database)
    return WindowEvaluator(database, settings.model_dir, ModelArchive(settings.reports_dir), limits, alarms)


def build_service_alarms(settings: Settings, database: Database) -> ServiceAlarms:
    """Return the alarms that hold for the model, as the log knows them."""
    return ServiceAlarms(AlarmLog(database), timedelta(days=settings.learning_days))


def build_retention(
    settings: Settings, database: Database, client: EvidentlyClient, project: str, holder: str
) -> Retention:
    """Return what removes what is old from the log, the reports and that project of Evidently UI."""
    windows = RetainedWindows(database)
    return Retention(
        windows,
        LogExpiry(database),
        client,
        SnapshotRepair(
            windows,
            client,
            project,
            database.log_id,
            shared=settings.evidently_share_project,
            versions=ModelArchive(settings.reports_dir).versions,
        ),
        lease=retention_lease(database, holder),
        policy=settings.retention_policy,
        reports_dir=settings.reports_dir,
    )
