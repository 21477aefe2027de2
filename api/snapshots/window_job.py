"""How a due window becomes a snapshot: evaluate, report, post, record. Runs in the worker process only."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from datetime import datetime
from pathlib import Path
from time import perf_counter
from uuid import UUID

from api.errors import LogUnavailable
from api.prediction_log.changed_rows import RowsOfCheck
from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.records import WindowRecord, WindowStatus, WindowValue
from api.prediction_log.retry import FailureCause
from api.prediction_log.windows import WindowStore, next_claimable
from api.snapshots.measure import WindowEvaluation
from api.snapshots.project import HealthProject
from api.snapshots.reports import blank_ids, report_name, write_window_report
from evidently_workspace.client import EvidentlyClient
from evidently_workspace.errors import EvidentlyError, EvidentlyForbidden
from evidently_workspace.results import WindowSnapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.errors import ArtifactError

logger = logging.getLogger(__name__)

GIVEN_UP = "given_up"


class LeaseLost(Exception):
    """Another process may have claimed the window, so this one must not post or record it."""


class SnapshotRejected(Exception):
    """Evidently UI answers, but rejects this window's snapshot."""


class WindowProcessor:
    """Processes windows, oldest first.

    ``evaluate`` evaluates the log in [start, end); ``learn`` is called after each posted window, with its model.
    ``report_suffix`` tells the reports of several models apart.
    """

    def __init__(
        self,
        store: WindowStore,
        lease: Lease,
        client: EvidentlyClient,
        project: HealthProject,
        evaluate: Callable[[datetime, datetime], WindowEvaluation],
        *,
        reports_dir: Path,
        report_suffix: str = "",
        learn: Callable[[Manifest], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._client = client
        self._project = project
        self._evaluate = evaluate
        self._learn = learn
        self._reports_dir = reports_dir
        self._report_suffix = report_suffix

    def process_due(self, max_windows: int) -> list[str]:
        """Process up to ``max_windows`` due windows, until one fails or the lease is lost; return the outcomes.

        An outcome is "posted", "skipped", "failed" or, if there will be no other try, "given_up".
        """
        outcomes: list[str] = []
        while len(outcomes) < max_windows and (window := self._store.claim(self._lease)) is not None:
            try:
                outcomes.append(self._process(window))
            except LeaseLost:
                logger.warning(
                    "window %s to %s: the lease is lost, so the new holder processes it", window.start, window.end
                )
                self._store.release_claim(window)
                break
            if outcomes[-1] == WindowStatus.FAILED:
                break
        return outcomes

    def _process(self, window: WindowRecord) -> str:
        """Process one window; an error is recorded with it."""
        try:
            status = self._evaluate_and_post(window)
        except LeaseLost:
            raise
        except (EvidentlyError, LogUnavailable, ArtifactError, OSError) as error:
            logger.warning("window %s to %s failed and will be tried again: %s", window.start, window.end, error)
            return self._defer(window, str(error), FailureCause.SURROUNDINGS)
        except SnapshotRejected as error:
            logger.warning("window %s to %s: Evidently UI rejects the snapshot: %s", window.start, window.end, error)
            return self._defer(window, str(error), FailureCause.WINDOW)
        except Exception as error:
            logger.exception("window %s to %s failed", window.start, window.end)
            return self._defer(window, f"{type(error).__name__}: {error}", FailureCause.WINDOW)
        logger.info("window %s to %s: %s", window.start, window.end, status)
        return status

    def _defer(self, window: WindowRecord, reason: str, cause: FailureCause) -> str:
        if self._store.defer(window, reason, cause) is not None:
            return WindowStatus.FAILED
        logger.error("window %s to %s is given up: %s", window.start, window.end, reason)
        return GIVEN_UP

    def _evaluate_and_post(self, window: WindowRecord) -> WindowStatus:
        began = perf_counter()
        evaluation = self._evaluate(window.start, window.end)
        snapshot = evaluation.snapshot
        if snapshot is None:
            self._record(window, evaluation, status=WindowStatus.SKIPPED, reason=evaluation.reason)
            return WindowStatus.SKIPPED
        report_file = report_name(window.start, window.end, self._report_suffix)
        write_window_report(self._reports_dir, report_file, snapshot.html)
        project_id, snapshot_id = self._post(window, snapshot, evaluation.manifest)
        self._record(
            window,
            evaluation,
            status=WindowStatus.POSTED,
            reason=None,
            failed_checks=[asdict(check) for check in snapshot.failed_checks],
            muted_checks=[asdict(one.failed) | asdict(one.mute) for one in snapshot.muted_checks],
            not_computed=list(snapshot.not_computed),
            project_id=str(project_id),
            snapshot_id=str(snapshot_id),
            snapshot_bytes=len(snapshot.body),
            report_file=report_file,
            duration_seconds=perf_counter() - began,
            alarms_version=evaluation.alarms_version,
        )
        if erased := self._store.erased_rows(_rows_of_checks(snapshot)):  # while the window was measured
            blank_ids(self._reports_dir, report_file, erased)
        self._project.show_newest(project_id, evaluation.manifest)
        self._learn_from_windows(evaluation.manifest)
        return WindowStatus.POSTED

    def _learn_from_windows(self, manifest: Manifest) -> None:
        try:
            self._learn(manifest)
        except Exception:  # the boundary of a job: the window is posted, and the next one tries again
            logger.exception("what is usual could not be learned from the windows so far")

    def _record(self, window: WindowRecord, evaluation: WindowEvaluation, **changed: object) -> None:
        found = () if evaluation.snapshot is None else evaluation.snapshot.values
        counts = {
            "rows": evaluation.logged.total,
            "labelled_rows": evaluation.labelled.total,
            "model_version": evaluation.manifest.version,
        }
        values = [WindowValue(value.name, value.column or "", value.value) for value in found]
        if not self._store.finish(window, values, {**changed, **counts}, _rows_of_checks(evaluation.snapshot)):
            raise LeaseLost

    def _post(self, window: WindowRecord, snapshot: WindowSnapshot, manifest: Manifest) -> tuple[UUID, UUID]:
        """Post the snapshot, and return the ids of its project and of itself.

        Posting is not idempotent, because the server makes the id, and an earlier try may have left half a snapshot. So
        if this window was tried before, its snapshots are removed first. The first try skips that, because it reads
        the list of all snapshots.
        """
        project_id = self._project.ensure(manifest)
        if window.tries > 1:
            self._remove_earlier(window, project_id)
        if not (self._lease.held() and self._store.is_claimed(window)):
            raise LeaseLost  # both: while the lease was lost, another process may have claimed the window
        try:
            return project_id, self._client.post_snapshot(project_id, snapshot.body)
        except EvidentlyForbidden:
            raise
        except EvidentlyError as error:
            raise SnapshotRejected(str(error)) from error

    def _remove_earlier(self, window: WindowRecord, project_id: UUID) -> None:
        ours = self._client.snapshots_by_window(project_id, self._project.log_id)
        earlier = ours.get(Window(window.start, window.end).key, [])
        if not self._store.is_claimed(window):
            raise LeaseLost  # asked after the list was read: so it has no snapshot of a newer claim, which would count
        for snapshot_id in earlier:
            self._client.delete_snapshot(project_id, snapshot_id)


def _rows_of_checks(snapshot: WindowSnapshot | None) -> list[RowsOfCheck]:
    return [RowsOfCheck(*astuple(one)) for one in (() if snapshot is None else snapshot.changed_rows)]


MAX_PROCESSORS = 16
"""Models whose reference rows and explainer are in memory together; another one is read again when its turn comes."""


class DueWindows:
    """The due windows of several models: the one that has waited longest is always next, whoever's it is.

    ``build`` returns the processor of each model, by its id, or raises ArtifactError: such a model's windows wait.
    """

    def __init__(self, database: Database, build: Mapping[int, Callable[[], WindowProcessor]]) -> None:
        self._database = database
        self._build = build
        self._built: dict[int, WindowProcessor] = {}

    def warm(self) -> None:
        """Read a model, and import what measures with it. Raises ArtifactError where it is the only one."""
        for model_id in self._build:
            if len(self._build) == 1:
                self._processor(model_id)
            elif self._try(model_id) is not None:
                return

    def process(self, max_windows: int) -> list[tuple[int, str]]:
        """Process up to ``max_windows`` windows, until the lease is lost; return the outcomes, with their models' ids.

        A model whose window fails, or whose artifact cannot be read, waits until the next call; the others go on.
        """
        outcomes: list[tuple[int, str]] = []
        left = set(self._build)
        while len(outcomes) < max_windows and (model_id := next_claimable(self._database, left)) is not None:
            processor = self._try(model_id)
            if processor is None:
                left.discard(model_id)
                continue
            found = processor.process_due(1)
            if not found:
                break
            outcomes += [(model_id, str(outcome)) for outcome in found]
            if found[-1] == WindowStatus.FAILED:
                left.discard(model_id)
        return outcomes

    def _try(self, model_id: int) -> WindowProcessor | None:
        try:
            return self._processor(model_id)
        except ArtifactError as error:
            if len(self._build) == 1:
                raise
            logger.warning("the windows of a model wait, as it cannot be read: %s", error)
            return None

    def _processor(self, model_id: int) -> WindowProcessor:
        processor = self._built.pop(model_id, None) or self._build[model_id]()
        self._built[model_id] = processor  # as the newest
        if len(self._built) > MAX_PROCESSORS:
            del self._built[next(iter(self._built))]
        return processor
