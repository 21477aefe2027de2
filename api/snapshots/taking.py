"""Owns how one due window becomes a snapshot: read, measure, post, record. Runs in the worker process alone."""

import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic, perf_counter, sleep
from uuid import UUID

import pandas as pd

from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.reader import WindowRows, read_labelled, read_predictions, read_rejections
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.window_store import WindowStore
from api.snapshots.explanations import WindowExplanations
from api.snapshots.frames import window_frame
from api.snapshots.job import JobConfig
from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.errors import EvidentlyRejected, EvidentlyUnavailable
from evidently_workspace.snapshot import WindowSnapshot, take_snapshot
from evidently_workspace.window import Window
from model.artifact import read_manifest, read_reference
from model.manifest import Manifest

logger = logging.getLogger(__name__)

MOST_TRIES = 5
"""Tries of a window whose snapshot itself fails; one that only waits for Evidently UI is never given up."""
PROJECT_PATIENCE_SECONDS = 30.0
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=2), timedelta(minutes=5)


class LeaseLost(Exception):
    """Another process may take the window by now, so this one must not post it."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """What the worker keeps between two windows."""

    config: JobConfig
    database: Database
    store: WindowStore
    lease: Lease
    client: EvidentlyClient
    manifest: Manifest
    reference: pd.DataFrame
    explanations: WindowExplanations


def take_due(config: JobConfig) -> list[WindowStatus]:
    """Take the due windows, oldest first, until none is left, one must be retried later, or the lease is lost."""
    worker = _worker(config)
    outcomes: list[WindowStatus] = []
    while worker.lease.held() and (window := worker.store.claim()) is not None:
        try:
            outcomes.append(_take(worker, window))
        except LeaseLost:
            logger.warning("window %s to %s is left to the new holder of the lease", window.start, window.end)
            break
        if outcomes[-1] == WindowStatus.FAILED:
            break
    return outcomes


def show_project(config: JobConfig) -> None:
    """Make the project and its dashboard, so that a person finds them before the first window has ended.

    Waits a while for an Evidently UI that starts at the same time; without one the first window will make them.
    """
    worker = _worker(config)
    deadline = monotonic() + PROJECT_PATIENCE_SECONDS
    while True:
        try:
            _ensure_project(worker)
        except EvidentlyUnavailable as error:
            if monotonic() > deadline:
                logger.warning("the project will be made with the first window: %s", error)
                return
            sleep(1)
        except EvidentlyRejected:
            logger.exception("the project could not be made")
            return
        else:
            return


@lru_cache(maxsize=1)
def _worker(config: JobConfig) -> _Worker:
    database = Database(config.database_url)
    return _Worker(
        config,
        database,
        WindowStore(database),
        Lease(database, config.holder, config.lease_lifetime),
        EvidentlyClient(config.evidently_url, config.evidently_secret, config.evidently_timeout_seconds),
        read_manifest(config.model_dir),
        read_reference(config.model_dir),
        WindowExplanations(config.model_dir),
    )


def _take(worker: _Worker, window: WindowRecord) -> WindowStatus:
    """Take one window; whatever goes wrong is recorded with it."""
    try:
        status = _measure_and_post(worker, window)
    except LeaseLost:
        raise
    except EvidentlyUnavailable as error:
        wait = min(FIRST_WAIT * 2 ** min(window.tries, 10), LONGEST_WAIT)
        logger.warning("window %s to %s waits: %s", window.start, window.end, error)
        worker.store.postpone(window.start, str(error), wait)
        return WindowStatus.FAILED
    except Exception as error:
        logger.exception("window %s to %s failed", window.start, window.end)
        wait_or_end = None if window.tries >= MOST_TRIES else FIRST_WAIT * 2**window.tries
        worker.store.postpone(window.start, f"{type(error).__name__}: {error}", wait_or_end)
        return WindowStatus.FAILED
    logger.info("window %s to %s: %s", window.start, window.end, status)
    return status


def _measure_and_post(worker: _Worker, window: WindowRecord) -> WindowStatus:
    began = perf_counter()
    config, manifest = worker.config, worker.manifest
    span = (worker.database, window.start, window.end, manifest.version, config.max_rows)
    logged, labelled = read_predictions(*span), read_labelled(*span)
    if logged.total < config.min_rows and labelled.total < config.min_labels:
        reason = _not_enough(config, logged, labelled)
        _finish(worker, window, logged, labelled, status=WindowStatus.SKIPPED, reason=reason)
        return WindowStatus.SKIPPED
    current = window_frame(logged.rows, manifest, labelled=False)
    attributions, attributions_missing = worker.explanations.explain(current)
    snapshot = take_snapshot(
        Window(window.start, window.end),
        current,
        window_frame(labelled.rows, manifest, labelled=True),
        worker.reference,
        manifest,
        min_rows=config.min_rows,
        min_labels=config.min_labels,
        sampled_fraction=logged.fraction,
        attributions=attributions,
        attributions_missing=attributions_missing,
        rejected_requests=read_rejections(worker.database, window.start, window.end),
    )
    report_file = _write_report(config.reports_dir, window, snapshot.html)
    project_id, snapshot_id = _post(worker, window, snapshot)
    _finish(
        worker,
        window,
        logged,
        labelled,
        [WindowValue(value.name, value.column or "", value.value) for value in snapshot.values],
        status=WindowStatus.POSTED,
        reason=None,
        failed_checks=[asdict(check) for check in snapshot.failed_checks],
        not_computed=list(snapshot.not_computed),
        project_id=project_id,
        snapshot_id=snapshot_id,
        report_file=report_file,
        duration_seconds=perf_counter() - began,
    )
    return WindowStatus.POSTED


def _not_enough(config: JobConfig, logged: WindowRows, labelled: WindowRows) -> str:
    reason = (
        f"not enough data: {logged.total} of at least {config.min_rows} rows, "
        f"{labelled.total} of at least {config.min_labels} labels"
    )
    if logged.other_versions:
        reason += f"; {logged.other_versions} rows were predicted by another version of the model"
    return reason


def _finish(
    worker: _Worker,
    window: WindowRecord,
    logged: WindowRows,
    labelled: WindowRows,
    values: list[WindowValue] | None = None,
    **changed: object,
) -> None:
    counts = {"rows": logged.total, "labelled_rows": labelled.total, "model_version": worker.manifest.version}
    worker.store.finish(window.start, values or [], {**changed, **counts})


def _post(worker: _Worker, window: WindowRecord, snapshot: WindowSnapshot) -> tuple[str, str]:
    """Post the snapshot once, and return the ids of its project and of itself.

    Posting is not idempotent, as the server makes the id; so where this window was tried before, its key is looked
    for first. That look is spared at the first try, because it reads the list of all snapshots.
    """
    client = worker.client
    project_id = _ensure_project(worker)
    if not worker.lease.held():
        raise LeaseLost
    key = Window(window.start, window.end).key
    posted = client.find_snapshot(project_id, key) if window.tries > 1 else None
    if posted is None:
        posted = client.post_snapshot(project_id, snapshot.body)
    return str(project_id), str(posted)


def _ensure_project(worker: _Worker) -> UUID:
    manifest = worker.manifest
    name = worker.config.project_name or manifest.name
    project_id = worker.client.ensure_project(name, f"Health of the model {manifest.name}, watched by Vigie.")
    worker.client.ensure_dashboard(project_id, build_dashboard(manifest))
    return project_id


def _write_report(folder: Path, window: WindowRecord, html: str) -> str:
    """Write the report whole or not at all, and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{window.start:%Y%m%dT%H%M%S.%fZ}_{window.end:%Y%m%dT%H%M%S.%fZ}.html".replace(".000000Z", "Z")
    with NamedTemporaryFile("w", dir=folder, prefix=".", suffix=".tmp", encoding="utf-8", delete=False) as file:
        file.write(html)
    Path(file.name).chmod(0o644)  # a temporary file is its owner's alone, a report is for reading
    Path(file.name).replace(folder / name)
    return name
