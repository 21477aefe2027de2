"""Removal of what is old: snapshots by tiers, reports and rows by age; repair of the rest. Runs in the worker."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar
from uuid import UUID

from api.errors import LogUnavailable
from api.prediction_log.expiry import LogExpiry, Pace
from api.prediction_log.lease import Lease
from api.prediction_log.records import WindowRecord
from api.prediction_log.retained_windows import RetainedWindows
from api.snapshots.reports import stale_files, stale_scripts
from api.snapshots.retention_tiers import Removals, RetentionPolicy, windows_to_remove
from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.errors import EvidentlyError
from evidently_workspace.window import Window
from model.errors import ArtifactError

logger = logging.getLogger(__name__)


MAX_REPOSTED = 10
"""Most lost snapshots that one run has posted again: new windows must not wait long for them."""
GONE = "its snapshot is gone from Evidently UI, and cannot be made again: the log no longer has all of its rows"


class SnapshotRepair:
    """Makes Evidently UI hold what the log's posted windows say: no snapshot more, none less.

    Only snapshots that come from this log are touched, in a project that belongs to it or is ``shared``. A window that
    is not posted yet removes its own. Snapshots of windows that are not in the log are left alone: another copy of the
    log may have posted them. ``versions`` returns the versions of the model that can still be measured.
    """

    def __init__(
        self,
        windows: RetainedWindows,
        client: EvidentlyClient,
        project_name: str,
        log_id: Callable[[], str],
        *,
        shared: bool,
        versions: Callable[[], Collection[str]],
    ) -> None:
        self._windows = windows
        self._client = client
        self._project_id = project_id_for(project_name)
        self._log_id = log_id
        self._shared = shared
        self._versions = versions

    def run(self) -> Iterator[UUID | None]:
        """Repair one thing after another: yield the id of each snapshot that was removed, None for each to make again.

        Raises EvidentlyError, LogUnavailable.
        """
        if not self._shared and self._client.owner(self._project_id) not in {None, self._log_id()}:
            return
        # in this order: a snapshot that is recorded now is in a list that is read later, unless it was removed
        windows = [window for window in self._windows.with_snapshot() if window.project_id == str(self._project_id)]
        retained = {_key(window): window for window in windows}
        found = self._client.snapshots_by_window(self._project_id, self._log_id(), unnamed=not self._shared)
        starts = [start for key in found.keys() - retained.keys() if (start := _start_of(key)) is not None]
        thinned = [window for window in self._windows.starting_at(starts).values() if window.snapshot_id is None]
        known = retained | {_key(window): window for window in thinned}
        for key, ids in found.items():
            if key in known:
                yield from self._remove(ids, known[key])
        # a shared project may hold snapshots of earlier versions, which do not say whose they are
        listed = self._client.snapshots_by_window(self._project_id) if self._shared else found
        lost = [window for key, window in retained.items() if key not in listed]
        yield from self._replace([window for window in lost if window.snapshot_removed_at is None])

    def _remove(self, ids: list[UUID], window: WindowRecord) -> Iterator[UUID]:
        if window.snapshot_id is not None and UUID(window.snapshot_id) not in ids:
            logger.warning(
                "the snapshot of %s to %s no longer exists; another one of that window replaces it",
                window.start,
                window.end,
            )
            self._windows.replace_snapshot(window, str(ids[0]))
            ids = ids[1:]
        for snapshot_id in _others(ids, window):
            logger.warning("an orphan snapshot of %s to %s is removed", window.start, window.end)
            self._client.delete_snapshot(self._project_id, snapshot_id)
            yield snapshot_id

    def _replace(self, lost: Sequence[WindowRecord]) -> Iterator[None]:
        """Have lost snapshots made again, the newest first, and give up those that cannot be."""
        versions = set(self._versions())
        reposted = 0
        for window in reversed(lost):
            if window.model_version not in versions or not self._windows.has_rows(window):
                logger.warning("window %s to %s: %s", window.start, window.end, GONE)
                self._windows.mark_snapshot_lost(window, GONE)
            elif reposted == MAX_REPOSTED:
                return
            elif self._windows.make_due_again(window):
                logger.warning("the snapshot of %s to %s is gone; it is made again", window.start, window.end)
                reposted += 1
                yield None


def _key(window: WindowRecord) -> str:
    return Window(window.start, window.end).key


def _others(ids: list[UUID], window: WindowRecord) -> list[UUID]:
    """Return the snapshots that are not the recorded one."""
    return [snapshot_id for snapshot_id in ids if str(snapshot_id) != window.snapshot_id]


def _start_of(key: str) -> datetime | None:
    try:
        return datetime.fromisoformat(key.partition("/")[0])
    except ValueError:
        return None


MIN_ROWS = 100
PAGES_AT_ONCE = 500
MAX_REST_SECONDS = 0.2


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class LogAndFiles:
    """How long the log keeps the rows of models that differ from the others, by their id, and the folder its reports.

    Without an age for reports it is that of the policy.
    """

    rows: Mapping[int, timedelta] = field(default_factory=dict)
    reports: timedelta | None = None


class Retention:
    """Removes what is old of one model. Several processes may try: the one that holds ``lease`` does it.

    One of several models' removes also rows and stale files, which is work for all models at once: that has
    ``log_and_files``, and the others' have None.
    """

    def __init__(
        self,
        windows: RetainedWindows,
        expiry: LogExpiry,
        client: EvidentlyClient,
        repair: SnapshotRepair,
        *,
        lease: Lease,
        policy: RetentionPolicy,
        reports_dir: Path,
        log_and_files: LogAndFiles | None = LogAndFiles(),
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._log_and_files = log_and_files
        self._windows = windows
        self._expiry = expiry
        self._client = client
        self._repair = repair
        self._lease = lease
        self._policy = policy
        self._batch_rows = MIN_ROWS
        self._reports_dir = reports_dir
        self._pause = pause

    def run(self, seconds: float) -> Removals | None:
        """Remove what is old for about that many seconds; None while another process is removing.

        A part that fails is named in the result; the other parts go on.
        """
        if not self._lease.take():
            return None
        done = Removals()
        deadline = monotonic() + seconds
        now = self._expiry.now()
        try:
            ui_answered = self._attempt(self._thin_snapshots, now, deadline, done)
            self._attempt(self._remove_reports, now, deadline, done)
            self._attempt(self._expire_rows, now, deadline, done)
            if ui_answered:  # otherwise each run would wait for Evidently UI twice
                self._attempt(self._repair_snapshots, now, deadline, done)
        finally:
            self._lease.release()
        return done

    def plan(self) -> Removals:
        """Return what a run would remove, without removing it. Raises LogUnavailable."""
        plan, now = Removals(), self._expiry.now()
        superseded = self._surplus_snapshots(now)
        plan.removed["snapshots"] = len(superseded)
        plan.freed_bytes["workspace"] = sum(window.snapshot_bytes or 0 for window in superseded)
        files = {path for window in superseded if (path := self._report_of(window)) is not None}
        files |= {path for window in self._expired_reports(now) if (path := self._report_of(window)) is not None}
        shared = self._log_and_files
        if shared is not None:
            files |= set(stale_files(self._reports_dir, now - (shared.reports or self._policy.reports_failed), now))
            files |= set(stale_scripts(self._reports_dir, now, files))
        plan.removed["reports"] = sum(path.is_file() for path in files)
        plan.freed_bytes["reports"] = sum(_size(path) for path in files)
        if shared is None:
            return plan
        rows = self._expiry.count(now - self._policy.rows, _times(now, shared.rows))
        plan.removed.update(predictions=rows.predictions, labels=rows.labels)
        plan.freed_bytes["log"] = rows.bytes
        return plan

    def _attempt(
        self, part: Callable[[datetime, float, Removals], None], now: datetime, deadline: float, done: Removals
    ) -> bool:
        if done.unfinished:
            return True
        try:
            part(now, deadline, done)
        except (EvidentlyError, LogUnavailable, OSError) as error:
            logger.warning("some of what is old could not be removed: %s", error)
            done.errors.append(str(error))
            return False
        return True

    def _thin_snapshots(self, now: datetime, deadline: float, done: Removals) -> None:
        for window in _until(deadline, self._surplus_snapshots(now), done):
            self._windows.begin_snapshot_removal(window)
            if window.project_id is not None and window.snapshot_id is not None:
                self._client.delete_snapshot(UUID(window.project_id), UUID(window.snapshot_id))
            self._remove_report(window, done)
            done.removed["values"] += self._windows.mark_snapshot_removed(window)
            done.removed["snapshots"] += 1
            done.freed_bytes["workspace"] += window.snapshot_bytes or 0

    def _remove_reports(self, now: datetime, deadline: float, done: Removals) -> None:
        for window in _until(deadline, self._expired_reports(now), done):
            self._remove_report(window, done)
        if self._log_and_files is None:
            return
        before = now - (self._log_and_files.reports or self._policy.reports_failed)
        for path in _until(deadline, stale_files(self._reports_dir, before, now), done):
            _unlink(path, done)
        for path in _until(deadline, stale_scripts(self._reports_dir, now), done):
            _unlink(path, done)

    def _expire_rows(self, now: datetime, deadline: float, done: Removals) -> None:
        if self._log_and_files is None:
            return
        before, own = now - self._policy.rows, _times(now, self._log_and_files.rows)
        for _ in self._batches(deadline, done):
            began = monotonic()
            expired = self._expiry.remove(before, self._batch_rows, own)
            self._batch_rows = next_batch(self._batch_rows, monotonic() - began, self._expiry.pace)
            done.removed.update(predictions=expired.predictions, labels=expired.labels)
            if expired.predictions == 0:
                break
        for _ in self._batches(deadline, done):
            counts = self._expiry.remove_rejections(before, MIN_ROWS, own)
            done.removed["rejections"] += counts
            if counts == 0:
                break
        for _ in self._batches(deadline, done):
            freed = self._expiry.shrink(PAGES_AT_ONCE)
            done.freed_bytes["log"] += freed
            if freed == 0:
                break

    def _repair_snapshots(self, _now: datetime, deadline: float, done: Removals) -> None:
        for removed in _until(deadline, self._repair.run(), done):
            done.removed["snapshots"] += removed is not None
            done.reposted += removed is None
        done.unfinished = done.unfinished or done.reposted == MAX_REPOSTED

    def _batches(self, deadline: float, done: Removals) -> Iterator[None]:
        """Yield until the deadline; pause after each batch, so that others can write to the log."""
        while not done.unfinished:
            began = monotonic()
            yield
            self._pause(min(self._expiry.pace.rest * (monotonic() - began), MAX_REST_SECONDS))
            done.unfinished = monotonic() >= deadline

    def _surplus_snapshots(self, now: datetime) -> list[WindowRecord]:
        """Return the windows whose snapshot to remove: first those whose removal an earlier run did not finish."""
        windows = self._windows.with_snapshot()
        begun = [window for window in windows if window.snapshot_removed_at is not None]
        others = [window for window in windows if window.snapshot_removed_at is None]
        return begun + windows_to_remove(others, now, self._policy.tiers)

    def _expired_reports(self, now: datetime) -> list[WindowRecord]:
        """Return the windows whose report is old enough to remove; with failed checks it is kept for longer."""
        failed_before = now - self._policy.reports_failed
        windows = self._windows.with_report(now - self._policy.reports)
        return [window for window in windows if not window.failed_checks or window.end < failed_before]

    def _report_of(self, window: WindowRecord) -> Path | None:
        return None if window.report_file is None else self._reports_dir / window.report_file

    def _remove_report(self, window: WindowRecord, done: Removals) -> None:
        path = self._report_of(window)
        if path is not None:
            _unlink(path, done)
            self._windows.mark_report_removed(window)


def next_batch(rows: int, seconds: float, pace: Pace) -> int:
    """Return how many rows the next batch should have, after one of so many took so long: at most twice as many."""
    return max(MIN_ROWS, min(pace.max_rows, int(rows * min(2.0, pace.batch_seconds / max(seconds, 1e-6)))))


def _times(now: datetime, ages: Mapping[int, timedelta]) -> dict[int, datetime]:
    return {model_id: now - age for model_id, age in ages.items()}


class RetentionOfModels:
    """Removes what is old of several models, one after the other; each run goes on where the last one stopped.

    ``build`` returns the retention of each model, or raises ArtifactError for one that cannot be read: it waits.
    """

    def __init__(self, build: Sequence[Callable[[], Retention]]) -> None:
        self._build = build
        self._next = 0

    def run(self, seconds: float) -> Removals | None:
        """Remove what is old for about that many seconds; None while another process is removing."""
        total, deadline = Removals(), monotonic() + seconds
        for turn in range(len(self._build)):
            if turn and monotonic() >= deadline:
                total.unfinished = True
                break
            try:
                done = self._build[self._next]().run(max(0.0, deadline - monotonic()))
            except ArtifactError as error:
                if len(self._build) == 1:
                    raise
                logger.warning("what is old of a model stays, as it cannot be read: %s", error)
                done = Removals()
            if done is None:
                return total if turn else None
            _add(total, done)
            if done.unfinished:
                total.unfinished = True
                break
            self._next = (self._next + 1) % len(self._build)
        return total

    def plan(self) -> Removals:
        """Return what runs would remove, without removing it. Raises LogUnavailable."""
        total = Removals()
        for build in self._build:
            _add(total, build().plan())
        return total


def _add(total: Removals, done: Removals) -> None:
    total.removed.update(done.removed)
    total.freed_bytes.update(done.freed_bytes)
    total.errors += done.errors
    total.reposted += done.reposted


def _until(deadline: float, items: Iterable[Item], done: Removals) -> Iterator[Item]:
    """Yield the items until the deadline; the first one in any case, so that each run makes progress."""
    for item in items:
        yield item
        if monotonic() >= deadline:
            done.unfinished = True
            return


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _unlink(path: Path, done: Removals) -> None:
    """Delete a file, and its folder if that is empty then; a file that does not exist is no error."""
    size = _size(path)
    path.unlink(missing_ok=True)
    if size:
        done.removed["reports"] += 1
        done.freed_bytes["reports"] += size
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
