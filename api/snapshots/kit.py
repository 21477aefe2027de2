"""Owns what the snapshot worker keeps between two jobs. Imports Evidently, which takes seconds: in the worker alone."""

from dataclasses import dataclass
from functools import lru_cache

from api.kept_models import KeptModels
from api.prediction_log.database import Database
from api.prediction_log.expiry import LogExpiry
from api.prediction_log.kept_windows import KeptWindows
from api.prediction_log.lease import Lease
from api.prediction_log.window_store import WindowStore
from api.snapshots.health_project import HealthProject
from api.snapshots.job import JobConfig
from api.snapshots.measuring import Enough, Measuring
from api.snapshots.retention import LEASE_LIFETIME, LEASE_NAME, Retention
from api.snapshots.strays import StraySnapshots
from api.snapshots.taking import WindowTaker
from evidently_workspace.client import EvidentlyClient


@dataclass(frozen=True, slots=True)
class Kit:
    """What does the jobs."""

    project: HealthProject
    taker: WindowTaker
    retention: Retention


@lru_cache(maxsize=1)
def kit_of(config: JobConfig) -> Kit:
    """Return the one that this process keeps. Raises model.errors.ArtifactError."""
    database = Database(config.database_url)
    client = EvidentlyClient(config.evidently_url, config.evidently_secret, config.evidently_timeout_seconds)
    enough = Enough(config.min_rows, config.min_labels, config.max_rows)
    measuring = Measuring(database, config.model_dir, KeptModels(config.reports_dir), enough)
    project = HealthProject(client, measuring.manifest, config.project_name)
    taker = WindowTaker(
        WindowStore(database),
        Lease(database, config.holder, config.lease_lifetime),
        client,
        project,
        measuring.measure,
        reports_dir=config.reports_dir,
    )
    retention = Retention(
        KeptWindows(database),
        LogExpiry(database),
        client,
        StraySnapshots(KeptWindows(database), client, config.project_name or measuring.manifest.name),
        lease=Lease(database, config.holder, LEASE_LIFETIME, LEASE_NAME),
        policy=config.policy,
        reports_dir=config.reports_dir,
    )
    return Kit(project, taker, retention)
