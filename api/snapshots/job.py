"""Owns the job of the snapshot worker: take every window that is due, oldest first, until none is left.

It runs in a process of its own, which stays warm: importing Evidently takes seconds and hundreds of megabytes, and
nothing that answers a request may wait for it.
"""

import logging
import os
import threading
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from tempfile import NamedTemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING

from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.reader import read_labelled, read_predictions
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.window_store import WindowStore

if TYPE_CHECKING:
    import pandas as pd

    from evidently_workspace.client import EvidentlyClient
    from evidently_workspace.snapshot import WindowSnapshot
    from model.manifest import Manifest

logger = logging.getLogger(__name__)

MOST_TRIES = 5
"""Tries of a window whose snapshot itself fails; one that only waits for Evidently UI is never given up."""
LONGEST_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class JobConfig:
    """What the worker needs, as plain values that can be sent to another process."""

    database_url: str
    model_dir: Path
    evidently_url: str
    evidently_secret: str | None
    evidently_timeout_seconds: float
    project_name: str | None
    reports_dir: Path
    min_rows: int
    min_labels: int
    max_rows: int
    holder: str
    lease_lifetime: timedelta


@dataclass(frozen=True, slots=True)
class _Worker:
    """What the worker keeps between two windows."""

    config: JobConfig
    database: Database
    store: WindowStore
    lease: Lease
    client: "EvidentlyClient"
    manifest: "Manifest"
    reference: "pd.DataFrame"


class LeaseLost(Exception):
    """Another process may take the window by now, so this one must not post it."""


_worker: _Worker | None = None


def prepare_worker() -> None:
    """Make this process the worker: it leaves signals to its parent, and ends when its parent does."""
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def warm_up() -> list[str]:
    """Import what a snapshot needs; no window is touched, so there is no outcome."""
    import evidently_workspace.snapshot  # noqa: F401 - the import is the work

    return []


def take_due_snapshots(config: JobConfig) -> list[str]:
    """Take the due windows and return the outcome of each; stops when the lease is lost or a window must be retried."""
    worker = _ready_worker(config)
    outcomes = []
    while worker.lease.held() and (window := worker.store.claim()) is not None:
        outcomes.append(_take(worker, window))
        if outcomes[-1] == WindowStatus.FAILED:
            break
    return [str(outcome) for outcome in outcomes]


def _ready_worker(config: JobConfig) -> _Worker:
    global _worker  # noqa: PLW0603 - a pool's process has no other place to keep what is dear to build
    if _worker is None or _worker.config != config:
        from evidently_workspace.client import EvidentlyClient
        from model.artifact import read_manifest, read_reference

        database = Database(config.database_url)
        _worker = _Worker(
            config,
            database,
            WindowStore(database),
            Lease(database, config.holder, config.lease_lifetime),
            EvidentlyClient(config.evidently_url, config.evidently_secret, config.evidently_timeout_seconds),
            read_manifest(config.model_dir),
            read_reference(config.model_dir),
        )
    return _worker


def _take(worker: _Worker, window: WindowRecord) -> WindowStatus:
    """Take one window; whatever goes wrong is recorded with it."""
    from evidently_workspace.errors import EvidentlyUnavailable

    try:
        status = _measure_and_post(worker, window)
    except LeaseLost:
        logger.warning("window %s to %s is left to the new holder of the lease", window.start, window.end)
        return WindowStatus.RUNNING
    except EvidentlyUnavailable as error:
        wait_for = min(timedelta(seconds=2) * 2 ** min(window.tries, 10), LONGEST_WAIT)
        logger.warning("window %s to %s waits: %s", window.start, window.end, error)
        worker.store.postpone(window.start, str(error), wait_for)
        return WindowStatus.FAILED
    except Exception as error:
        logger.exception("window %s to %s failed", window.start, window.end)
        last = window.tries >= MOST_TRIES
        worker.store.postpone(window.start, f"{type(error).__name__}: {error}", None if last else timedelta(seconds=10))
        return WindowStatus.FAILED
    logger.info("window %s to %s: %s", window.start, window.end, status)
    return status


def _measure_and_post(worker: _Worker, record: WindowRecord) -> WindowStatus:
    from api.snapshots.frames import window_frame
    from evidently_workspace.snapshot import take_snapshot
    from evidently_workspace.window import Window

    began = perf_counter()
    config, manifest = worker.config, worker.manifest
    args = (worker.database, record.start, record.end, manifest.version, config.max_rows)
    logged, labelled = read_predictions(*args), read_labelled(*args)
    counts = {"rows": logged.total, "labelled_rows": labelled.total, "model_version": manifest.version}
    if logged.total < config.min_rows and labelled.total < config.min_labels:
        reason = f"not enough data: {logged.total} rows of {config.min_rows}, {labelled.total} labels of {config.min_labels}"
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows are of other versions of the model"
        worker.store.finish(record.start, status=WindowStatus.SKIPPED, reason=reason, **counts)
        return WindowStatus.SKIPPED
    snapshot = take_snapshot(
        Window(record.start, record.end),
        window_frame(logged.rows, manifest, labelled=False),
        window_frame(labelled.rows, manifest, labelled=True),
        worker.reference,
        manifest,
        min_rows=config.min_rows,
        min_labels=config.min_labels,
        sampled_fraction=logged.fraction,
    )
    report_file = _write_report(config.reports_dir, record, snapshot.html)
    project_id, snapshot_id = _post(worker, record, snapshot)
    worker.store.finish(
        record.start,
        [WindowValue(value.name, value.column or "", value.value) for value in snapshot.values],
        status=WindowStatus.POSTED,
        reason=None,
        **counts,
        failed_checks=[asdict(check) for check in snapshot.failed_checks],
        not_computed=list(snapshot.not_computed),
        project_id=project_id,
        snapshot_id=snapshot_id,
        report_file=report_file,
        duration_seconds=perf_counter() - began,
    )
    return WindowStatus.POSTED


def _post(worker: _Worker, record: WindowRecord, snapshot: "WindowSnapshot") -> tuple[str, str]:
    """Post the snapshot once: the server makes the id, so an earlier try is looked for by the window's key first."""
    from evidently_workspace.dashboard import build_dashboard
    from evidently_workspace.window import Window

    client, manifest = worker.client, worker.manifest
    project_id = client.ensure_project(
        worker.config.project_name or manifest.name, f"Health of the model {manifest.name}, watched by Vigie."
    )
    client.ensure_dashboard(project_id, build_dashboard(manifest))
    if not worker.lease.held():
        raise LeaseLost
    posted = client.find_snapshot(project_id, Window(record.start, record.end).key) if record.tries > 1 else None
    if posted is None:
        posted = client.post_snapshot(project_id, snapshot.body)
    return str(project_id), str(posted)


def _write_report(folder: Path, record: WindowRecord, html: str) -> str:
    """Write the report whole or not at all, and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{record.start:%Y%m%dT%H%M%S.%fZ}_{record.end:%Y%m%dT%H%M%S.%fZ}.html".replace(".000000Z", "Z")
    with NamedTemporaryFile("w", dir=folder, prefix=".", suffix=".tmp", encoding="utf-8", delete=False) as file:
        file.write(html)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(folder / name)
    return name
