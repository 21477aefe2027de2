"""Puts the program together: what the app, the snapshot worker and the commands are made of.

What needs Evidently or pandas is imported inside the functions that build it: the process that answers requests imports
this module too.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from api import __version__
from api.alerts.next_steps import NextSteps
from api.alerts.notifications import build_notifications
from api.alerts.notifier import build_notifier
from api.alerts.payload import REPEATS_PER_LIFETIME, Wording
from api.hosted_models import HostedModel, HostedModels, Monitoring, Place, Serving, WindowsOfModels, each
from api.installed_models import (
    FOLDER_OF_MODELS,
    Installation,
    InstalledModel,
    find_models,
    name_of_first,
    project_name,
)
from api.metrics import Metrics
from api.prediction_log.alarm_changes import AlarmChanges
from api.prediction_log.alarms import AlarmLog
from api.prediction_log.database import Database
from api.prediction_log.expiry import LogExpiry
from api.prediction_log.layouts import LayoutStore
from api.prediction_log.lease import Lease, new_holder, retention_lease, snapshot_lease
from api.prediction_log.models import ServedVersionStore, register
from api.prediction_log.notifications import NotificationStore
from api.prediction_log.reader import SnapshotProgress, read_health, read_progress
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.windows import MinimalWindow, WindowStore
from api.prediction_log.writer import LogWriter
from api.serving.data_plane import DataPlane
from api.serving.model_archive import ModelArchive
from api.serving.reload import ModelReloader
from api.serving.served_model import ServedModel
from api.settings import Settings
from api.snapshots import scheduler as jobs
from api.snapshots.health import SnapshotLinks, dashboard_state
from api.snapshots.learning import ServiceAlarms
from api.snapshots.queries import SnapshotQueries
from api.snapshots.reports import report_suffix
from api.snapshots.retention import LogAndFiles, Retention, RetentionOfModels, SnapshotRepair
from api.snapshots.scheduler import JobScheduler, SnapshotHeartbeat, StatusProbe
from api.snapshots.worker import BuildContext, SnapshotWorker, WorkerContext, retention_seconds
from evidently_workspace.client import EvidentlyClient
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest
from model.serving.predictor import AnyPredictor

if TYPE_CHECKING:  # they import pandas
    from api.snapshots.measure import WindowEvaluator

FIRST_RETENTION_AFTER = timedelta(minutes=1)
"""A process that never lives for an interval still removes what is old; a start has other things to do first."""

FOR_EVER = timedelta(days=36_500)
"""The age of what a run leaves alone: that of models that it is not about."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a process of the API consists of, put together and not yet started."""

    metrics: Metrics
    database: Database
    writer: LogWriter
    installation: Installation
    models: HostedModels
    status: StatusProbe
    heartbeat: SnapshotHeartbeat
    scheduler: JobScheduler

    def start(self) -> None:
        """Migrate the log, then start what works beside the requests.

        Raises LogUnavailable; then nothing has started, and it may be called again.
        """
        self.database.migrate()
        places = places_of(self.installation, self.database)
        for model in self.models:
            model.open(places[model.installed.name])
        for model in self.models:
            model.start()
        self.writer.start()
        self.scheduler.start()

    async def stop(self) -> None:
        """Commit what was accepted, stop the jobs and the worker, and close what is open."""
        await self.writer.close()
        self.scheduler.stop()
        self.heartbeat.stop()
        self.status.close()
        self.database.dispose()


def build_runtime(settings: Settings, registry: CollectorRegistry) -> Runtime:
    """Put together a process that serves the models of the settings; only the models are read.

    Raises model.errors.ArtifactError where there is no model, or the only one is not valid, BadAddresses where an
    address for notifications cannot be used.
    """
    installation = find_models(settings)
    metrics = Metrics(registry, by_model=not installation.is_single)
    metrics.describe(log_queue_rows=settings.log_queue_rows)
    metrics.link_evidently(settings.evidently_link)
    database = build_database(settings, settings.log_timeout_seconds)
    writer = LogWriter(
        database,
        settings.log_queue_rows,
        metrics.observe_commit,
        metrics.observe_queue,
        timeout_seconds=settings.log_timeout_seconds,
    )
    scheduler = JobScheduler(metrics)
    parts = ModelParts(database, writer, partial(scheduler.wake, jobs.HEARTBEAT), LayoutStore(database))
    models = HostedModels(
        [HostedModel(one, metrics.of_model(one.name or ""), parts) for one in installation.models], installation.default
    )
    lease = snapshot_lease(database, new_holder(), settings.heartbeat)
    context = partial(build_worker_context, settings, installation, lease.holder)
    heartbeat = _build_heartbeat(settings, lease, scheduler, metrics, models=models, database=database, context=context)
    status = StatusProbe(
        metrics,
        settings.evidently_url,
        lease.held,
        partial(_progress, models, database),
        warn_of_long_reads=database.warn_of_long_reads,
    )
    scheduler.add(jobs.MODEL_RELOAD, partial(each, models, HostedModel.follow), settings.heartbeat)
    if settings.snapshots:
        _add_snapshot_jobs(settings, scheduler, models, heartbeat, status)
    if settings.snapshots and (notifications := build_notifications(settings, database, lease, metrics)) is not None:
        # a job of its own: an address may take long to answer
        scheduler.add(
            jobs.NOTIFICATIONS, heartbeat.while_held(partial(notifications.run, models.news)), settings.alert_repeat
        )
    if models.is_single:  # its id in the log is known before the log is
        models.find().open(Place(SOLE_MODEL, settings.evidently_project))
    return Runtime(metrics, database, writer, installation, models, status, heartbeat, scheduler)


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Builds the parts of each model of a process around the log, its writer and the scheduler that they share."""

    database: Database
    writer: LogWriter
    wake: Callable[[], None]
    layouts: LayoutStore

    def versions(self, model_id: int) -> ServedVersionStore:
        """Return the versions that were announced for a model."""
        return ServedVersionStore(self.database, model_id)

    def build(
        self, model: InstalledModel, place: Place, predictor: AnyPredictor, metrics: Metrics
    ) -> tuple[Serving, Monitoring]:
        """Return what serves a model and what watches it."""
        served = ServedModel(predictor, place.model_id, self.layouts.id_of)
        archive = build_archive(model.settings, place.model_id)
        reloader = ModelReloader(served, model.folder, self.versions(place.model_id), metrics, archive)
        monitoring = self._monitoring(model, place, predictor.manifest, metrics)

        def show(shown: AnyPredictor) -> None:
            name = model.name or shown.manifest.name
            metrics.describe_model(__version__, name, shown.manifest.version, shown.engine)
            monitoring.notifier.follow(shown.manifest.version)

        show(predictor)
        served.on_change(show)
        return Serving(served, DataPlane(served, self.writer, metrics), reloader), monitoring

    def _monitoring(self, model: InstalledModel, place: Place, manifest: Manifest, metrics: Metrics) -> Monitoring:
        settings = model.settings
        store = WindowStore(self.database, place.model_id)
        project = place.project or manifest.name  # it stays, whatever the name of a later version is
        links = SnapshotLinks(settings.api_url, settings.evidently_link, project)
        queries = SnapshotQueries(
            store,
            interval=settings.snapshot_interval,
            enough=MinimalWindow(settings.snapshot_min_rows, settings.snapshot_min_labels),
            links=links,
            alarms=build_service_alarms(settings, self.database, place.model_id),
            next_steps=model.next_steps,
            wake=self.wake,
            read_health=partial(read_health, self.database, place.model_id),
        )
        lifetime = REPEATS_PER_LIFETIME * settings.alert_repeat
        wording = Wording(model.name or manifest.name, links, lifetime, model.next_steps)
        changes = AlarmChanges(self.database, place.model_id)
        notifier = build_notifier(settings, store, changes, version=manifest.version, wording=wording, metrics=metrics)
        return Monitoring(store, queries, notifier, NotificationStore(self.database, place.model_id), changes)


def _build_heartbeat(
    settings: Settings,
    lease: Lease,
    scheduler: JobScheduler,
    metrics: Metrics,
    *,
    models: HostedModels,
    database: Database,
    context: BuildContext,
) -> SnapshotHeartbeat:
    def report(model_id: int | None, outcome: str) -> None:
        of_model = next((model.metrics for model in models if model.model_id == model_id), metrics)
        of_model.count_window(outcome)
        scheduler.wake(jobs.ALERTS, jobs.NOTIFICATIONS)

    return SnapshotHeartbeat(
        WindowsOfModels(models, database),
        lease,
        SnapshotWorker(context, report, settings.snapshot_timeout_seconds),
        window=settings.snapshot_interval,
        interval=settings.heartbeat,
        lease_gained=partial(scheduler.wake, jobs.ALERTS, jobs.NOTIFICATIONS),
        run_again_in=partial(scheduler.run_in, jobs.HEARTBEAT),
        report_removals=metrics.observe_removals,
    )


def _add_snapshot_jobs(
    settings: Settings,
    scheduler: JobScheduler,
    models: HostedModels,
    heartbeat: SnapshotHeartbeat,
    status: StatusProbe,
) -> None:
    def notify() -> None:
        each(models.serving(), lambda model: model.monitoring.notifier.notify())

    at_once = timedelta(0)
    retention_interval = timedelta(seconds=settings.retention_interval_seconds)
    scheduler.add(jobs.HEARTBEAT, heartbeat.run, settings.heartbeat, at_once)
    scheduler.add(jobs.STATUS, status.look, settings.heartbeat, at_once)
    scheduler.add(jobs.ALERTS, heartbeat.while_held(notify), settings.alert_repeat)
    scheduler.add(
        jobs.RETENTION, heartbeat.request_retention, retention_interval, min(FIRST_RETENTION_AFTER, retention_interval)
    )


def _progress(models: HostedModels, database: Database) -> Iterator[tuple[Metrics, SnapshotProgress]]:
    for model in models.serving():
        interval = model.installed.settings.snapshot_interval
        yield model.metrics, read_progress(database, interval, model.monitoring.store.model_id)


@lru_cache(maxsize=1)
def build_worker_context(settings: Settings, installation: Installation, holder: str) -> WorkerContext:
    """Return what the worker process keeps, for these models and that holder of the lease."""
    from api.snapshots.project import HealthProject  # noqa: PLC0415 - Evidently takes seconds, and only the worker needs it
    from api.snapshots.window_job import DueWindows, WindowProcessor  # noqa: PLC0415 - as above

    database, client = build_database(settings), build_evidently_client(settings)
    lease = snapshot_lease(database, holder, settings.heartbeat)
    places = places_of(installation, database)

    def project_of(model: InstalledModel, manifest: Manifest) -> HealthProject:
        name = places[model.name].project or manifest.name
        links = SnapshotLinks(settings.api_url, settings.evidently_link, name)
        return HealthProject(
            client,
            manifest,
            name,
            database.log_id,
            shared=settings.evidently_share_project,
            state=partial(dashboard_state, database, links, places[model.name].model_id),
        )

    def processor_of(model: InstalledModel) -> WindowProcessor:
        model_id = places[model.name].model_id
        evaluator = build_evaluator(model.settings, database, model_id, model.drift_floors, model.next_steps)
        return WindowProcessor(
            WindowStore(database, model_id),
            lease,
            client,
            project_of(model, evaluator.manifest),
            evaluator.evaluate,
            reports_dir=settings.reports_dir,
            report_suffix=report_suffix(model.name, model_id),
            learn=evaluator.learn,
        )

    by_id = {places[model.name].model_id: model for model in installation.models}
    return WorkerContext(
        lambda: (project_of(model, read_manifest(model.folder)) for model in by_id.values() if model.error is None),
        DueWindows(database, {model_id: partial(processor_of, model) for model_id, model in by_id.items()}),
        build_retention(database, client, installation, holder),
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


def build_evaluator(
    settings: Settings,
    database: Database,
    model_id: int = SOLE_MODEL,
    drift_floors: tuple[tuple[str, float], ...] = (),
    next_steps: NextSteps | None = None,
) -> "WindowEvaluator":
    """Return what measures a stretch of a model's log. Raises model.errors.ArtifactError."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently reports its use otherwise
    from api.snapshots.measure import SampleLimits, WindowEvaluator  # noqa: PLC0415 - it imports Evidently, which takes seconds

    limits = SampleLimits(settings.snapshot_min_rows, settings.snapshot_min_labels, settings.snapshot_max_rows)
    alarms = build_service_alarms(settings, database, model_id)
    archive = build_archive(settings, model_id)
    evaluator = partial(WindowEvaluator, model_id=model_id, drift_floors=drift_floors, next_steps=next_steps)
    return evaluator(database, settings.model_dir, archive, limits, alarms)


def build_service_alarms(settings: Settings, database: Database, model_id: int = SOLE_MODEL) -> ServiceAlarms:
    """Return the alarms that hold for the model, as the log knows them."""
    return ServiceAlarms(AlarmLog(database, model_id), timedelta(days=settings.learning_days))


def build_archive(settings: Settings, model_id: int = SOLE_MODEL) -> ModelArchive:
    """Return the archived versions of a model; the first one's are where they are if it is alone."""
    folder = settings.reports_dir
    return ModelArchive(folder if model_id == SOLE_MODEL else folder / FOLDER_OF_MODELS / settings.model_dir.name)


def build_retention(
    database: Database,
    client: EvidentlyClient,
    installation: Installation,
    holder: str,
    only: Sequence[InstalledModel] | None = None,
) -> RetentionOfModels:
    """Return what removes what is old from the log, the reports and Evidently UI, of all models or ``only`` of some."""
    places = places_of(installation, database)
    chosen = installation.models if only is None else only
    # a model whose project is known can be built even if it is not valid
    common = next((model for model in chosen if places[model.name].project is not None), chosen[0])
    policies = {model: model.settings.retention_policy for model in installation.models}
    rows = {places[model.name].model_id: policies[model].rows if model in chosen else FOR_EVER for model in policies}
    reports = max(policy.reports_failed for policy in policies.values()) if only is None else FOR_EVER
    shared = LogAndFiles(rows, reports)

    def build(model: InstalledModel, of_all: LogAndFiles | None) -> Retention:
        settings, place = model.settings, places[model.name]
        windows = RetainedWindows(database, place.model_id)
        repair = SnapshotRepair(
            windows,
            client,
            place.project or read_manifest(model.folder).name,
            database.log_id,
            shared=settings.evidently_share_project,
            versions=build_archive(settings, place.model_id).versions,
        )
        return Retention(
            windows,
            LogExpiry(database),
            client,
            repair,
            lease=retention_lease(database, holder),
            policy=settings.retention_policy,
            reports_dir=settings.reports_dir,
            log_and_files=of_all,
        )

    return RetentionOfModels([partial(build, model, shared if model is common else None) for model in chosen])


def places_of(installation: Installation, database: Database) -> dict[str | None, Place]:
    """Return where the data of each model are, by name; a new model gets an id. Raises LogUnavailable."""
    if installation.is_single:
        return {None: Place(SOLE_MODEL, installation.models[0].settings.evidently_project)}
    ids: dict[str | None, int] = dict(register(database, installation.names, installation.default).items())
    first = name_of_first(installation.models, ids)
    return {
        model.name: Place(ids[model.name], project_name(model, ids[model.name], first)) for model in installation.models
    }
