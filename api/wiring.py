"""Puts the program together: what the app, the snapshot worker and the commands are made of."""

from dataclasses import dataclass
from functools import lru_cache

from api.prediction_log.database import Database
from api.prediction_log.expiry import LogExpiry
from api.prediction_log.lease import Lease
from api.prediction_log.windows import RetainedWindows, WindowStore
from api.serving.model_archive import ModelArchive
from api.snapshots.measure import SampleLimits, WindowEvaluator
from api.snapshots.project import HealthProject
from api.snapshots.retention import LEASE_LIFETIME, LEASE_NAME, OrphanSnapshots, Retention
from api.snapshots.window_job import WindowProcessor
from api.snapshots.worker import WorkerConfig
from evidently_workspace.client import EvidentlyClient


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What does the jobs."""

    project: HealthProject
    taker: WindowProcessor
    retention: Retention


@lru_cache(maxsize=1)
def build_worker_context(config: WorkerConfig) -> WorkerContext:
    """Return the one that this process keeps. Raises model.errors.ArtifactError."""
    database = Database(config.database_url)
    client = EvidentlyClient(config.evidently_url, config.evidently_secret, config.evidently_timeout_seconds)
    enough = SampleLimits(config.min_rows, config.min_labels, config.max_rows)
    measuring = WindowEvaluator(database, config.model_dir, ModelArchive(config.reports_dir), enough)
    project = HealthProject(client, measuring.manifest, config.project_name)
    taker = WindowProcessor(
        WindowStore(database),
        Lease(database, config.holder, config.lease_lifetime),
        client,
        project,
        measuring.measure,
        reports_dir=config.reports_dir,
    )
    retention = Retention(
        RetainedWindows(database),
        LogExpiry(database),
        client,
        OrphanSnapshots(RetainedWindows(database), client, config.project_name or measuring.manifest.name),
        lease=Lease(database, config.holder, LEASE_LIFETIME, LEASE_NAME),
        policy=config.policy,
        reports_dir=config.reports_dir,
    )
    return WorkerContext(project, taker, retention)
