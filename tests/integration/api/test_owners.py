"""Several logs on one Evidently UI, people who change things there, and snapshots that are lost there."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import delete

from api.prediction_log.database import Database
from api.prediction_log.lease import snapshot_lease
from api.prediction_log.reader import read_labelled, read_predictions
from api.prediction_log.records import PredictionRecord, WindowRecord, WindowStatus, WindowValue
from api.prediction_log.retained_windows import RetainedWindows
from api.prediction_log.tables import predictions
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from api.snapshots.measure import WindowEvaluation
from api.snapshots.project import HealthProject
from api.snapshots.retention import GONE, SnapshotRepair
from api.snapshots.window_job import WindowProcessor
from evidently_workspace.client import EvidentlyClient, project_id_for
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.results import MetricValue, WindowSnapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest
from scripts import clock
from tests.clocked import ClockedDatabase
from tests.integration.conftest import RunningUI, evidently_ui
from tests.logging_rows import as_they_are
from tests.servers import free_port

FIVE_MINUTES = timedelta(minutes=5)


class Log:
    """A log whose windows are posted as small snapshots, to a project of that name in Evidently UI."""

    def __init__(
        self, database: Database, ui: RunningUI, manifest: Manifest, folder: Path, project: str, *, shared: bool = False
    ):
        self.database = database
        self.database.migrate()
        self.store = WindowStore(database)
        self.retained = RetainedWindows(database)
        self.client = EvidentlyClient(ui.url, ui.secret)
        self.project_id = project_id_for(project)
        self._manifest = manifest
        self.lease = snapshot_lease(database, uuid4().hex, FIVE_MINUTES)
        self._project = HealthProject(self.client, manifest, project, database.log_id, shared=shared)
        self.processor = WindowProcessor(
            self.store,
            self.lease,
            self.client,
            self._project,
            self._evaluate,
            learn=lambda _manifest: None,
            reports_dir=folder,
        )
        self._repair = SnapshotRepair(
            self.retained, self.client, project, database.log_id, shared=shared, versions=lambda: {manifest.version}
        )

    def _evaluate(self, start: datetime, end: datetime) -> WindowEvaluation:
        window, version = Window(start, end), self._manifest.version
        body = {
            "report": {"items": []},
            "name": window.title,
            "timestamp": window.evidently_timestamp.isoformat(),
            "metadata": {"window": window.key, "log": self.database.log_id()},
            "tags": [],
            "metric_results": {},
            "top_level_metrics": [],
            "widgets": [],
            "tests_widgets": [],
        }
        logged = read_predictions(self.database, start, end, version, 1000)
        labelled = read_labelled(self.database, start, end, version, 1000)
        values = (MetricValue("rows", None, float(logged.total)),)
        snapshot = WindowSnapshot(json.dumps(body).encode(), "<p>", (), values, ())
        return WindowEvaluation(logged, labelled, snapshot, None, self._manifest)

    def window(self, rows: int = 3) -> WindowRecord:
        """Log rows, and return their window once it was processed."""

        async def write() -> None:
            writer = LogWriter(self.database, 1000, respond=as_they_are)
            writer.start()
            version = self._manifest.version
            await writer.log_responses(
                [PredictionRecord(uuid4().hex, 0, version, "{}", "a", "{}") for _ in range(rows)]
            )
            await writer.close()

        asyncio.run(write())
        self.database.time += FIVE_MINUTES  # type: ignore[attr-defined] # a ClockedDatabase
        self.store.close_elapsed(FIVE_MINUTES)
        return self.process()

    def process(self) -> WindowRecord:
        """Process what is due, and return the newest window."""
        assert self.lease.take()
        self.processor.process_due(10)
        return self.store.newest(1)[0]

    def repair(self) -> list[UUID | None]:
        return list(self._repair.run())

    def in_ui(self) -> dict[str, list[UUID]]:
        return self.client.snapshots_by_window(self.project_id)


@pytest.fixture(scope="module")
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


NewLog = Callable[..., Log]


@pytest.fixture
def new_log(ui: RunningUI, manifest: Manifest, tmp_path: Path) -> Iterator[NewLog]:
    """Makes a log of its own on the UI of all, with a project that only this test uses."""
    project, logs = uuid4().hex, []

    def make(name: str = "log", **options: Any) -> Log:
        database = ClockedDatabase(f"sqlite:///{tmp_path / name}.db")
        logs.append(Log(database, ui, manifest, tmp_path / "reports", project, **options))
        return logs[-1]

    yield make
    for log in logs:
        log.client.close()
        log.database.dispose()


def test_a_project_of_another_log_is_refused_with_what_to_do(new_log: NewLog) -> None:
    ours, theirs = new_log("ours"), new_log("theirs")
    assert ours.window().status == WindowStatus.POSTED
    refused = theirs.window()
    assert refused.status == WindowStatus.FAILED
    assert f"belongs to another prediction log ({ours.database.log_id()})" in str(refused.reason)
    assert "VIGIE_EVIDENTLY_PROJECT" in str(refused.reason)
    assert theirs.repair() == []
    assert [len(ids) for ids in ours.in_ui().values()] == [1]


def test_logs_that_share_a_project_leave_each_others_snapshots_alone(new_log: NewLog) -> None:
    first, second = new_log("first", shared=True), new_log("second", shared=True)
    windows = [log.window() for log in (first, second)]
    assert windows[0].start == windows[1].start  # the same window of both
    both = {UUID(str(window.snapshot_id)) for window in windows}
    for log in (first, second):
        assert log.repair() == []
        assert [set(ids) for ids in log.in_ui().values()] == [both]
    retried = second.store.newest(1)[0]
    assert second.retained.make_due_again(retried)
    again = second.process()
    assert again.snapshot_id != retried.snapshot_id
    assert [set(ids) for ids in first.in_ui().values()] == [
        {UUID(str(windows[0].snapshot_id)), UUID(str(again.snapshot_id))}
    ]


def test_a_copy_of_a_log_with_an_id_of_its_own_is_another_log(new_log: NewLog) -> None:
    log = new_log()
    before = log.database.log_id()
    log.window()
    log.database.renew_log_id()
    assert log.database.log_id() != before
    assert log.window().status == WindowStatus.FAILED


def test_a_project_that_nobody_owns_yet_becomes_the_logs_and_keeps_its_description(
    new_log: NewLog, ui: RunningUI
) -> None:
    log = new_log()
    log.client.ensure_project(project_name(log, ui), "As an earlier version made it.")
    log.window()
    about = info(log, ui)["description"]
    assert about == f"As an earlier version made it. Log: {log.database.log_id()}"
    log.window()
    assert info(log, ui)["description"] == about


def project_name(log: Log, _ui: RunningUI) -> str:
    return log._project._name


def info(log: Log, ui: RunningUI) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{ui.url}/api/projects/{log.project_id}/info").raise_for_status().json()
    return found


def test_panels_that_a_person_added_stay_and_ours_are_renewed(
    new_log: NewLog, ui: RunningUI, manifest: Manifest
) -> None:
    log = new_log()
    log.window()
    path = f"{ui.url}/api/v2/dashboards/{log.project_id}"
    headers = {"evidently-secret": ui.secret}
    stored = httpx.get(path).json()
    mine = {**stored["panels"][0], "id": str(uuid4()), "title": "Mine"}
    stored["panels"] = [mine, *stored["panels"][:-1]]  # one of ours is missing
    stored["tabs"][0]["panels"] = [panel["id"] for panel in stored["panels"]]
    httpx.post(path, json=stored, headers=headers).raise_for_status()
    log.window()
    after = httpx.get(path).json()
    ours = build_dashboard(manifest)
    assert after["panels"] == [*ours["panels"], mine]
    assert after["tabs"][0]["panels"] == [*ours["tabs"][0]["panels"], mine["id"]]
    after["tabs"][0]["panels"].insert(0, after["tabs"][0]["panels"].pop())  # theirs may stand anywhere
    httpx.post(path, json=after, headers=headers).raise_for_status()
    log.window()
    assert httpx.get(path).json() == after


def test_snapshots_that_are_lost_in_evidently_ui_are_made_again(new_log: NewLog, ui: RunningUI) -> None:
    log = new_log()
    windows = [log.window(rows) for rows in (3, 4)]
    headers = {"evidently-secret": ui.secret}
    httpx.delete(f"{ui.url}/api/projects/{log.project_id}", headers=headers).raise_for_status()
    assert log.repair() == [None, None]
    log.process()
    after = log.store.newest(2)[::-1]
    assert [(one.status, one.rows) for one in after] == [(WindowStatus.POSTED, 3), (WindowStatus.POSTED, 4)]
    assert {one.snapshot_id for one in after}.isdisjoint(one.snapshot_id for one in windows)
    assert [[str(one) for one in ids] for _, ids in sorted(log.in_ui().items())] == [[one.snapshot_id] for one in after]
    assert log.repair() == []


def test_a_ui_that_is_restored_from_an_older_copy_gets_what_it_lacks_and_loses_what_was_thinned(
    tmp_path: Path, manifest: Manifest
) -> None:
    port, older = free_port(), tmp_path / "older.db"
    with evidently_ui(tmp_path, port) as ui:
        log = Log(ClockedDatabase(f"sqlite:///{tmp_path / 'log.db'}"), ui, manifest, tmp_path / "reports", "project")
        thinned, kept = log.window(), log.window()
        with closing(sqlite3.connect(ui.database)) as source, closing(sqlite3.connect(older)) as copy:
            source.backup(copy)
        log.client.delete_snapshot(log.project_id, UUID(str(thinned.snapshot_id)))
        log.retained.mark_snapshot_removed(thinned)
        lost = log.window(rows=5)
    for file in ui.database.parent.glob(f"{ui.database.name}*"):
        file.unlink()
    older.rename(ui.database)
    with evidently_ui(tmp_path, port):
        assert set(log.in_ui()) == {key_of(thinned), key_of(kept)}
        assert log.repair() == [UUID(str(thinned.snapshot_id)), None]
        again = log.process()
        assert (again.start, again.status, again.rows) == (lost.start, WindowStatus.POSTED, 5)
        assert log.in_ui() == {
            key_of(kept): [UUID(str(kept.snapshot_id))],
            key_of(lost): [UUID(str(again.snapshot_id))],
        }
        assert log.repair() == []
    log.client.close()
    log.database.dispose()


def key_of(window: WindowRecord) -> str:
    return Window(window.start, window.end).key


def test_a_lost_snapshot_that_cannot_be_made_again_is_marked_and_its_values_stay(new_log: NewLog) -> None:
    log = new_log()
    window = log.window()
    log.client.delete_snapshot(log.project_id, UUID(str(window.snapshot_id)))
    with log.database.writing() as connection:
        connection.execute(delete(predictions))
    assert log.repair() == []
    (after,) = log.store.newest(1)
    assert (after.status, after.snapshot_id, after.reason) == (WindowStatus.POSTED, None, GONE)
    assert after.snapshot_removed_at is not None
    values = [value for _, _, value in log.store.series("rows", None, None, None, limit=10)]
    assert values == [WindowValue("rows", "", 3.0)]


def test_what_a_clock_that_was_ahead_has_left_in_evidently_ui_is_removed_with_its_windows(
    new_log: NewLog, ui: RunningUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = new_log()
    now = datetime.now(UTC)
    set_clock(log, now - 2 * FIVE_MINUTES)
    past = log.window()
    set_clock(log, now + timedelta(days=1))
    future = log.window(rows=4)
    report = tmp_path / "reports" / str(future.report_file)
    assert (len(log.in_ui()), report.exists()) == (2, True)
    monkeypatch.setenv("VIGIE_DATABASE_URL", f"sqlite:///{tmp_path / 'log.db'}")
    monkeypatch.setenv("VIGIE_REPORTS_DIR", str(tmp_path / "reports"))
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET", ui.secret)
    monkeypatch.setenv("VIGIE_EVIDENTLY_URL", "http://127.0.0.1:9")
    assert clock.main(["--bring-back"]) == 2  # and nothing is lost
    assert "no answer from Evidently UI" in capsys.readouterr().err
    assert log.store.newest(1) == [future]
    monkeypatch.setenv("VIGIE_EVIDENTLY_URL", ui.url)
    assert clock.main(["--bring-back"]) == 0
    assert list(log.in_ui()) == [Window(past.start, past.end).key]
    assert not report.exists()
    set_clock(log, datetime.now(UTC) + FIVE_MINUTES)
    log.store.close_elapsed(FIVE_MINUTES)
    again = log.process()
    assert (again.status, again.rows, again.start < now + FIVE_MINUTES) == (WindowStatus.POSTED, 4, True)
    assert len(log.in_ui()) == 2


def set_clock(log: Log, time: datetime) -> None:
    log.database.time = time  # type: ignore[attr-defined] # a ClockedDatabase
