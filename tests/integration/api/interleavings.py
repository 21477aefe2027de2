"""A small world in which two API processes share a log and a real Evidently UI, and anything may go wrong anywhere.

It has one model or several, whose windows are of the same times and whose rows have the same ids.

Real are the log, the heartbeat, the claim, the post, the look-up, the record, the removal and the UI. Faked are the
clock, the faults, and what a snapshot measures: it is as small as Evidently UI accepts.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx

from api.errors import LogUnavailable
from api.hosted_models import WindowsOfModels
from api.prediction_log.database import Database
from api.prediction_log.expiry import LogExpiry
from api.prediction_log.lease import Lease, retention_lease, snapshot_lease
from api.prediction_log.models import register
from api.prediction_log.reader import read_labelled, read_predictions
from api.prediction_log.records import (
    SOLE_MODEL,
    LabelRecord,
    PredictionRecord,
    WindowRecord,
    WindowStatus,
    prediction_key,
)
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.retry import FAULTS_UNTIL_DEFERRED
from api.prediction_log.windows import WindowStore, next_claimable
from api.prediction_log.writer import LogWriter
from api.snapshots import window_job
from api.snapshots.measure import WindowEvaluation
from api.snapshots.reports import report_suffix, write_window_report
from api.snapshots.retention import LogAndFiles, Retention, RetentionOfModels, SnapshotRepair
from api.snapshots.retention_tiers import DEFAULT_TIERS, RetentionPolicy, parse_tiers
from api.snapshots.scheduler import SnapshotHeartbeat
from api.snapshots.window_job import DueWindows, WindowProcessor
from api.snapshots.worker import SnapshotWorker
from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.results import ROWS_HEADER, ChangedRows, FailedCheck, WindowSnapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.errors import ArtifactError
from tests.clocked import JumpyDatabase, WorldClock
from tests.integration.api.posts import Post, Posts
from tests.integration.conftest import SECRET
from tests.logging_rows import as_they_are

V1 = cast("Manifest", SimpleNamespace(version="v1"))
"""All that the record of a window asks of the version that it measured."""
FIVE_MINUTES = timedelta(minutes=5)
HEARTBEAT = timedelta(seconds=5)
POLICY = RetentionPolicy(parse_tiers(DEFAULT_TIERS), timedelta(days=2), timedelta(days=7), timedelta(days=90))
WINDOW_JOB_POINTS = ("reading", "measured", "reporting", "reported", "posting", "posted", "recording", "recorded")
REMOVING_POINTS = ("deleted", "forgetting", "forgot", "expiring", "expired")
UI_FAULTS = ("500", "refused", "hangs", "answer lost", "lands late")


class Crash(BaseException):
    """The process is killed here."""


@dataclass
class Faults:
    """What happens at which point of a process, each thing once; and which window it claimed last."""

    at_point: dict[str, Callable[[], None]] = field(default_factory=dict)
    of_requests: list[str] = field(default_factory=list)
    of_posts: list[str] = field(default_factory=list)
    claimed: WindowRecord | None = None

    def reach(self, point: str) -> None:
        """Do what is to happen at this point."""
        happens = self.at_point.pop(point, None)
        if happens is not None:
            happens()


class FaultyTransport(httpx.BaseTransport):
    """The way to Evidently UI, on which requests and answers get lost."""

    real = httpx.HTTPTransport()

    def __init__(self, faults: Faults, posts: Posts, late: list[Post]) -> None:
        self._faults = faults
        self._posts = posts
        self._late = late

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        post = self._post(request)
        if post is not None:
            self._faults.reach("posting")
        faults = self._faults.of_posts if post is not None and self._faults.of_posts else self._faults.of_requests
        fault = faults.pop(0) if faults else None
        if fault == "500":
            return httpx.Response(500, request=request)
        if fault == "refused":
            raise httpx.ConnectError("refused", request=request)
        if fault == "lands late" and post is not None:
            self._late.append(post)
        if fault in {"hangs", "lands late"}:
            raise httpx.ReadTimeout("hangs", request=request)
        response = self.real.handle_request(request)
        response.read()
        if post is not None:
            self._posts.land(post, response)
        if fault == "answer lost":
            raise httpx.ReadTimeout("answer lost", request=request)
        if post is not None:
            self._faults.reach("posted")
        if request.method == "DELETE":
            self._faults.reach("deleted")
        return response

    def _post(self, request: httpx.Request) -> Post | None:
        if request.method != "POST" or "/snapshots/" not in request.url.path or self._faults.claimed is None:
            return None
        return self._posts.of(request, self._faults.claimed)


class WatchedStore(WindowStore):
    """The windows, with points around the record, and a look at the claims and at the order of age.

    What it sees is noted, not raised: what is raised in there would count as an error of the window.
    """

    def __init__(
        self, database: Database, faults: Faults, posts: Posts, overtakings: list[str], model_id: int = SOLE_MODEL
    ) -> None:
        super().__init__(database, model_id)
        self._faults = faults
        self._posts = posts
        self._overtakings = overtakings

    def claim(self, lease: Lease | None = None) -> WindowRecord | None:
        window = super().claim(lease)
        if window is not None:
            self._faults.claimed = window
            self._posts.claimed(window)
        return window

    def finish(self, window: WindowRecord, *arguments: Any) -> bool:
        self._faults.reach("recording")
        recorded = super().finish(window, *arguments)
        if recorded:
            self._overtakings += [
                f"{window} overtook {older}"
                for older in self.newest(10_000)
                if older.start < window.start
                and older.faults < FAULTS_UNTIL_DEFERRED
                and older.status not in {WindowStatus.POSTED, WindowStatus.SKIPPED}
            ]
        self._faults.reach("recorded")
        return recorded


class WatchedRetained(RetainedWindows):
    """What windows still have, with points around the record that it is gone."""

    def __init__(self, database: Database, faults: Faults, model_id: int) -> None:
        super().__init__(database, model_id)
        self._faults = faults

    def mark_snapshot_removed(self, window: WindowRecord) -> int:
        self._faults.reach("forgetting")
        values = super().mark_snapshot_removed(window)
        self._faults.reach("forgot")
        return values


class WatchedExpiry(LogExpiry):
    """The expiry of rows, with points around each batch."""

    def __init__(self, database: Database, faults: Faults) -> None:
        super().__init__(database)
        self._faults = faults

    def remove(self, before: datetime, most: int, *own: Any) -> Any:
        self._faults.reach("expiring")
        gone = super().remove(before, most, *own)
        self._faults.reach("expired")
        return gone


class SmallProject:
    """The project, made once: what its dashboard shows is another test's business."""

    def __init__(self, client: EvidentlyClient, name: str, log_id: str) -> None:
        self._client = client
        self._name = name
        self.log_id = log_id

    def ensure(self, _manifest: Manifest) -> UUID:
        return self._client.ensure_project(self._name, "interleavings")


class InlineWorker:
    """The worker without a process of its own: a crash in it is a crash of all.

    One that is stopped in the middle of a window is busy, and takes no other, even if its process gets the lease back.
    """

    def __init__(self, windows: DueWindows) -> None:
        self._windows = windows
        self.busy = False

    def warm(self) -> None:
        """Nothing is slow here."""

    def process_due(self) -> None:
        if not self.busy:
            self.busy = True
            try:
                self._windows.process(2)
            finally:
                self.busy = False


class Hosted:
    """What the heartbeat asks of the models of a process: which serve, and how long their windows are."""

    def __init__(self, stores: Sequence[WatchedStore]) -> None:
        settings = SimpleNamespace(snapshot_interval=FIVE_MINUTES)
        self._models = [
            SimpleNamespace(monitoring=SimpleNamespace(store=store), installed=SimpleNamespace(settings=settings))
            for store in stores
        ]

    def serving(self) -> list[SimpleNamespace]:
        return self._models


class ApiProcess:
    """One API process, from its start to its end."""

    def __init__(self, world: "World") -> None:
        self.faults = Faults()
        self.database = JumpyDatabase(world.url, world.clock)
        self._world = world
        self._holder = uuid4().hex
        self._lease = snapshot_lease(self.database, self._holder, HEARTBEAT)
        self.retention_lease = retention_lease(self.database, self._holder)
        stores = [
            WatchedStore(self.database, self.faults, world.posts, world.overtakings, model_id)
            for model_id in world.model_ids
        ]
        self.store = stores[0]
        transport = FaultyTransport(self.faults, world.posts, world.late)
        self.client = EvidentlyClient(world.ui_url, SECRET, transport=transport)
        windows = DueWindows(self.database, {store.model_id: partial(self._processor, store) for store in stores})
        self.retention = RetentionOfModels([partial(self._retention, model_id) for model_id in world.model_ids])
        worker = cast("SnapshotWorker", InlineWorker(windows))
        self.heartbeat = SnapshotHeartbeat(
            WindowsOfModels(cast("Any", Hosted(stores)), self.database),
            self._lease,
            worker,
            window=FIVE_MINUTES,
            interval=HEARTBEAT,
            lease_gained=lambda: None,
            run_again_in=lambda _delay: None,
            report_removals=lambda _removals: None,  # World says when to remove
        )

    def _processor(self, store: WatchedStore) -> WindowProcessor:
        model_id = store.model_id
        self._refuse_broken(model_id)
        project = SmallProject(self.client, self._world.project_of(model_id), self.database.log_id())
        return WindowProcessor(
            store,
            self._lease,
            self.client,
            cast("Any", project),
            partial(self._measure, model_id),
            learn=lambda _manifest: None,
            reports_dir=self._world.reports,
            report_suffix=report_suffix(str(model_id), model_id),
        )

    def _retention(self, model_id: int) -> Retention:
        self._refuse_broken(model_id)
        retained = WatchedRetained(self.database, self.faults, model_id)
        project = self._world.project_of(model_id)
        return Retention(
            retained,
            WatchedExpiry(self.database, self.faults),
            self.client,
            SnapshotRepair(retained, self.client, project, self.database.log_id, shared=False, versions=lambda: {"v1"}),
            lease=self.retention_lease,
            policy=POLICY,
            reports_dir=self._world.reports,
            log_and_files=LogAndFiles() if model_id == SOLE_MODEL else None,
            pause=lambda _seconds: None,
        )

    def _refuse_broken(self, model_id: int) -> None:
        if model_id in self._world.broken:
            raise ArtifactError(f"the artifact of model {model_id} is damaged")

    def _measure(self, model_id: int, start: datetime, end: datetime) -> WindowEvaluation:
        self.faults.reach("reading")
        self._refuse_broken(model_id)
        measured = self._world.measured(self.database, start, end, model_id)
        self.faults.reach("measured")
        return measured

    def beat(self) -> None:
        """One heartbeat; reports are written with points around that."""

        def write(folder: Path, name: str, html: str) -> None:
            self.faults.reach("reporting")
            write_window_report(folder, name, html)
            self.faults.reach("reported")

        before, window_job.write_window_report = window_job.write_window_report, write
        try:
            with suppress(LogUnavailable):  # a periodic job goes on after it
                self.heartbeat.run()
        finally:
            window_job.write_window_report = before

    def end(self) -> None:
        """Close what the process had open."""
        self.client.close()
        self.database.dispose()


class World:
    """Two processes, their log, a UI, and the clock."""

    def __init__(self, ui_url: str, log_url: str, reports: Path, models: int = 1) -> None:
        self.model_ids = range(SOLE_MODEL, SOLE_MODEL + models)
        self.broken: set[int] = set()
        self.project = uuid4().hex
        self.ui_url = ui_url
        self.url = log_url
        self.reports = reports
        self.clock = WorldClock()
        self.posts = Posts()
        self.late: list[Post] = []
        self.happened: Counter[str] = Counter()
        self.overtakings: list[str] = []
        self.logged: list[str] = []
        """The keys of the rows of all models; several have the same ids."""
        self.labelled: set[str] = set()
        self.processes = [ApiProcess(self), ApiProcess(self)]
        if models > 1:
            register(self.processes[0].database, [str(model_id) for model_id in self.model_ids], str(SOLE_MODEL))

    def project_of(self, model_id: int) -> str:
        """Return the name of a model's project."""
        return self.project if model_id == SOLE_MODEL else f"{self.project}-{model_id}"

    def logged_of(self, model_id: int) -> list[str]:
        """Return the keys of a model's rows."""
        first = f"{model_id}:"
        return [key for key in self.logged if (key.startswith(first) if model_id != SOLE_MODEL else ":" not in key)]

    def measured(
        self, database: Database, start: datetime, end: datetime, model_id: int = SOLE_MODEL
    ) -> WindowEvaluation:
        """Read a window really, and make the smallest snapshot of it; every fourth one has a failed check."""
        logged = read_predictions(database, start, end, "v1", 1000, model_id=model_id)
        labelled = read_labelled(database, start, end, "v1", 1000, model_id=model_id)
        window = Window(start, end)
        body = {
            "report": {"items": []},
            "name": window.title,
            "timestamp": window.evidently_timestamp.isoformat(),
            "metadata": {"window": window.key, "log": database.log_id()},
            "tags": [],
            "metric_results": {},
            "top_level_metrics": [],
            "widgets": [],
            "tests_widgets": [],
        }
        failed = (FailedCheck("data_drift", "x", 1.0, 0.5),) if start.timestamp() // 300 % 4 == 0 else ()
        scored = tuple((row.prediction_id, 1.0) for row in logged.rows)
        named = (ChangedRows("data_drift", "x", None, scored),) if failed and scored else ()
        listed = [["data drift", "x", "", prediction_id, "1"] for prediction_id, _ in scored if failed]
        html = f'<p>"header": {json.dumps(ROWS_HEADER)}, "data": {json.dumps(listed)}</p>'
        snapshot = WindowSnapshot(json.dumps(body).encode(), html, failed, (), (), changed_rows=named)
        return WindowEvaluation(logged, labelled, snapshot, None, V1)

    def rows(self, process: int, count: int, labels: int, models: Sequence[int] = (SOLE_MODEL,)) -> None:
        """Log rows of models, which have the same ids, and labels of rows that have none."""

        async def write() -> None:
            writer = LogWriter(self.processes[process].database, 1000, respond=as_they_are)
            writer.start()
            names = [uuid4().hex for _ in range(count)]
            rows = [(prediction_key(model_id, name), model_id) for name in names for model_id in models]
            await writer.log_responses([PredictionRecord(key, 0, "v1", "{}", "a", "{}", of) for key, of in rows])
            self.logged += [key for key, _ in rows]
            chosen = [key for key in self.logged if key not in self.labelled][: labels * len(models)]
            if chosen:
                await writer.log_labels([LabelRecord(key, "a") for key in chosen])
            self.labelled |= set(chosen)
            await writer.close()

        asyncio.run(write())

    def window(self, process: int, rows: int, labels: int, beats: int, models: Sequence[int] = (SOLE_MODEL,)) -> None:
        """Log rows, wait for the end of their window, and give a process a heartbeat, then the other one, and so on."""
        self.rows(process, rows, labels, models)
        self.pass_time(FIVE_MINUTES.total_seconds())
        for beat in range(beats):
            self.beat((process + beat) % 2)

    def break_artifact(self, model_id: int) -> None:
        """Damage a model's artifact: its windows wait, and those of the others do not."""
        self.happened["artifact damaged"] += 1
        self.broken.add(model_id)

    def mend_artifact(self) -> None:
        """Put all artifacts right."""
        self.broken.clear()

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.time += timedelta(seconds=seconds)

    def beat(self, process: int) -> None:
        """Give a process a heartbeat, and restart it if it crashed in it."""
        self.pass_time(HEARTBEAT.total_seconds())
        self._alive_or_restarted(process, self.processes[process].beat)

    def remove_old(self, process: int) -> None:
        """Let a process remove what is old."""
        self._alive_or_restarted(process, lambda: self.processes[process].retention.run(60))

    def crash_at(self, process: int, point: str) -> None:
        """Have the process killed when it next comes to that point."""

        def crash() -> None:
            self.happened[f"crash: {point}"] += 1
            raise Crash

        self.processes[process].faults.at_point[point] = crash

    def take_over_at(self, process: int, point: str, other_dies_at: str | None) -> None:
        """Have the process stopped for a while at that point, in which the other one takes the lease and goes on.

        That one may be killed in turn when it comes to a point.
        """

        def take_over() -> None:
            self.happened[f"taken over: {point}"] += 1
            if other_dies_at is not None:
                self.crash_at(1 - process, other_dies_at)
            self.pass_time(11)
            self.beat(1 - process)

        self.processes[process].faults.at_point[point] = take_over

    def break_requests(self, process: int, faults: list[str]) -> None:
        """Have the process's next calls of the UI go wrong."""
        self.happened.update(f"UI: {fault}" for fault in faults)
        self.processes[process].faults.of_requests = list(faults)

    def break_posts(self, process: int, faults: list[str]) -> None:
        """Have the process's next posts of snapshots go wrong, and nothing before them."""
        self.happened.update(f"UI, at a post: {fault}" for fault in faults)
        self.processes[process].faults.of_posts = list(faults)

    def jump(self, seconds: float) -> None:
        """Set the machine's clock wrong."""
        self.happened["clock: ahead" if seconds > 0 else "clock: back"] += 1
        self.clock.error += timedelta(seconds=seconds)

    def land(self) -> None:
        """Let the posts whose callers have stopped waiting reach the UI."""
        while self.late:
            self.happened["landed late"] += 1
            post = self.late.pop(0)
            response = FaultyTransport.real.handle_request(post.request)
            response.read()
            assert response.is_success
            self.posts.land(post, response)

    def settle(self) -> None:
        """End all errors, and let the processes finish what is left."""
        self.land()
        self.mend_artifact()
        self.clock.error = timedelta(0)
        for process in self.processes:
            process.faults.at_point.clear()
            process.faults.of_requests.clear()
            process.faults.of_posts.clear()
        for _ in range(3):  # a clock that was put right is believed after a while
            self.pass_time(400)
            self.beat(0)
            self.beat(1)
        rounds = 0
        while self.unfinished():
            rounds += 1
            assert rounds < 2000, f"not finished: {self.unfinished()[:3]}"
            if next_claimable(self.processes[0].database, self.model_ids) is None:
                self.pass_time(60)
            self.beat(0)
            self.beat(1)
        self._look()
        self.remove_old(0)

    def _look(self) -> None:
        """See what the posts alone have left in the UI, before retention mends anything."""
        assert self.posts.unentitled == [], "only the newest claimant posts"
        for model_id in self.model_ids:
            found = self.in_ui(model_id)
            for window in self.windows(model_id):
                snapshots = found.get(Window(window.start, window.end).key, [])
                if window.snapshot_id is not None and window.snapshot_removed_at is None:
                    assert UUID(window.snapshot_id) in snapshots, f"the recorded snapshot of {window} is not there"
                duplicates = self.posts.forbidden_duplicates(window, snapshots)
                assert duplicates == [], f"the last try of {window} should have removed {duplicates}"
                allowed = len(snapshots) - (window.snapshot_id is not None)
                self.happened["duplicates that arrived after every look-up, left to retention"] += max(allowed, 0)

    def age(self, days: int, errors: list[str]) -> None:
        """Let days pass, and have what became old removed, with the process killed or a call lost on the way."""
        self.pass_time(days * 86_400)
        for error in errors:
            if error in UI_FAULTS:
                self.break_requests(0, [error])
            else:
                self.crash_at(0, error)
            self.remove_old(0)
        process = self.processes[0]
        process.faults.at_point.clear()
        process.faults.of_requests.clear()
        self.land()
        self.remove_old(0)
        assert process.retention.plan().removed.total() == 0

    def windows(self, model_id: int = SOLE_MODEL) -> list[WindowRecord]:
        """Return all windows of a model, oldest first."""
        return WindowStore(self.processes[0].database, model_id).newest(1_000_000)[::-1]

    def unfinished(self) -> list[WindowRecord]:
        """Return the windows that are still to be posted."""
        final = {WindowStatus.POSTED, WindowStatus.SKIPPED}
        return [one for model_id in self.model_ids for one in self.windows(model_id) if one.status not in final]

    def in_ui(self, model_id: int = SOLE_MODEL) -> dict[str, list[UUID]]:
        """Return what the UI has of each window of a model."""
        return self.processes[0].client.snapshots_by_window(project_id_for(self.project_of(model_id)))

    def end(self) -> None:
        """Close everything."""
        for process in self.processes:
            process.end()

    def _alive_or_restarted(self, process: int, work: Callable[[], object]) -> None:
        alive = self.processes[process]
        with suppress(Crash):
            work()
            return
        if self.processes[process] is alive:
            alive.end()
            self.processes[process] = ApiProcess(self)
