"""Owns how one due window becomes a snapshot: read, measure, post, record. Runs in the worker process alone."""

import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import lru_cache
from time import monotonic, perf_counter, sleep
from uuid import UUID

from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.window_store import WindowStore
from api.snapshots.job import JobConfig
from api.snapshots.measuring import Enough, Measured, Measuring
from api.snapshots.report_files import report_name, write_report
from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.errors import EvidentlyRejected, EvidentlyUnavailable
from evidently_workspace.snapshot import WindowSnapshot
from evidently_workspace.window import Window

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
    measuring: Measuring


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
        Measuring(database, config.model_dir, Enough(config.min_rows, config.min_labels, config.max_rows)),
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
    measured = worker.measuring.measure(window.start, window.end)
    snapshot = measured.snapshot
    if snapshot is None:
        _finish(worker, window, measured, status=WindowStatus.SKIPPED, reason=measured.reason)
        return WindowStatus.SKIPPED
    report_file = report_name(window.start, window.end)
    write_report(worker.config.reports_dir / report_file, snapshot.html)
    project_id, snapshot_id = _post(worker, window, snapshot)
    _finish(
        worker,
        window,
        measured,
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


def _finish(
    worker: _Worker,
    window: WindowRecord,
    measured: Measured,
    values: list[WindowValue] | None = None,
    **changed: object,
) -> None:
    counts = {
        "rows": measured.logged.total,
        "labelled_rows": measured.labelled.total,
        "model_version": worker.measuring.manifest.version,
    }
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
    manifest = worker.measuring.manifest
    name = worker.config.project_name or manifest.name
    project_id = worker.client.ensure_project(name, f"Health of the model {manifest.name}, watched by Vigie.")
    worker.client.ensure_dashboard(project_id, build_dashboard(manifest))
    return project_id
