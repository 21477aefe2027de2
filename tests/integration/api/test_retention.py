"""What is old goes, from a real Evidently UI, the folder of reports and the log; and nothing else does."""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from uuid import UUID

import httpx
import pandas as pd
import pytest
from sqlalchemy import select

from api.prediction_log.database import Database
from api.prediction_log.erasure import erase, erase_mentions
from api.prediction_log.records import WindowRecord
from api.prediction_log.tables import changed_rows
from api.snapshots.reports import blank_ids
from api.snapshots.retention_tiers import windows_to_remove
from evidently_workspace.client import project_id_for
from evidently_workspace.window import Window
from scripts import retention as command
from tests.integration.api.conftest import ApiProcess, Caller
from tests.integration.api.interleavings import POLICY, REMOVING_POINTS, World
from tests.integration.conftest import SECRET

HOUR = 3600


@pytest.fixture
def world(ui_port: int, tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/log.db"
    database = Database(url)
    database.migrate()
    database.dispose()
    world = World(f"http://127.0.0.1:{ui_port}", url, tmp_path / "reports")
    yield world
    world.end()


def windows_posted(world: World, count: int, apart_seconds: float = 0) -> list[WindowRecord]:
    for _ in range(count):
        world.window(0, 2, 1, 1)
        world.pass_time(apart_seconds)
    world.settle()
    return [window for window in world.windows() if window.snapshot_id is not None]


def report_files(world: World) -> set[str]:
    return {str(path.relative_to(world.reports)) for path in world.reports.rglob("*.html")}


def scripts_of_last_week(world: World) -> list[Path]:
    """Leave two scripts that no report refers to, and return them with the newer one last."""
    scripts = [world.reports / "assets" / f"{letter * 64}.js" for letter in "ab"]
    for days, path in zip((9, 8), scripts, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text("draw()")
        written = (world.clock.time - timedelta(days=days)).timestamp()
        os.utime(path, (written, written))
    return scripts


def test_a_plan_is_what_a_run_removes_and_the_rest_stays(world: World) -> None:
    windows_posted(world, 12)
    world.pass_time(8 * 24 * HOUR)
    young = windows_posted(world, 3)[-3:]
    process = world.processes[0]
    plan = process.retention.plan()
    assert plan.removed["snapshots"] == 0  # the round that settled the world has removed what was old
    world.pass_time(25 * HOUR)
    now = world.clock.time
    old_script, newest_script = scripts_of_last_week(world)
    kept = [window for window in world.windows() if window.snapshot_id is not None]
    leaving = windows_to_remove(kept, now, POLICY.tiers)
    plan = process.retention.plan()
    assert plan.removed["snapshots"] == len(leaving) > 0
    assert plan.freed_bytes["workspace"] == sum(window.snapshot_bytes or 0 for window in leaving) > 0
    done = process.retention.run(60)
    assert done is not None
    assert (done.errors, done.unfinished) == ([], False)
    for kind in ("snapshots", "reports", "predictions", "labels"):
        assert done.removed[kind] == plan.removed[kind], kind
    assert done.freed_bytes["reports"] == plan.freed_bytes["reports"] > 0
    staying = {Window(window.start, window.end).key for window in kept if window not in leaving}
    assert set(world.in_ui()) == staying
    assert report_files(world) == {window.report_file for window in world.windows() if window.report_file}
    assert {window.start for window in young} & {window.start for window in kept if window not in leaving}
    assert (old_script.exists(), newest_script.exists()) == (False, True)
    assert process.retention.plan().removed.total() == 0


@pytest.mark.parametrize("point", REMOVING_POINTS)
def test_a_removal_that_is_cut_off_is_finished_by_the_next_run(world: World, point: str) -> None:
    windows_posted(world, 4)
    world.pass_time(9 * 24 * HOUR)
    world.crash_at(0, point)
    world.remove_old(0)
    assert world.happened[f"crash: {point}"] == 1
    world.pass_time(301)  # the lease of the killed process ends
    world.remove_old(0)
    assert world.processes[0].retention.plan().removed.total() == 0
    assert set(world.in_ui()) == {
        Window(one.start, one.end).key for one in world.windows() if one.snapshot_id is not None
    }


def test_while_one_process_removes_what_is_old_another_leaves_it_to_that(world: World) -> None:
    windows_posted(world, 1)
    ours, others = (process.retention for process in world.processes)
    assert world.processes[0].retention_lease.take()
    assert others.run(60) is None
    assert ours.run(60) is not None
    assert others.run(60) is not None


def test_rows_and_reports_go_while_evidently_ui_is_down_and_its_snapshots_later(world: World) -> None:
    before = windows_posted(world, 3)
    world.pass_time(95 * 24 * HOUR)
    world.break_requests(0, ["refused"])
    done = world.processes[0].retention.run(60)
    assert done is not None
    assert "no answer from Evidently UI" in done.errors[0]
    assert done.removed["snapshots"] == 0
    assert (done.removed["predictions"], done.removed["reports"]) == (6, 3)
    assert len(world.in_ui()) == len(before)
    done = world.processes[0].retention.run(60)
    assert done is not None
    assert done.removed["snapshots"] == 2
    assert report_files(world) == set()


def test_a_run_that_has_no_time_comes_a_step_further_and_says_that_there_is_more(world: World) -> None:
    windows_posted(world, 4)
    world.pass_time(9 * 24 * HOUR)
    process = world.processes[0]
    planned = process.retention.plan().removed["snapshots"]
    steps = 0
    while (done := process.retention.run(0)) is not None and done.unfinished:
        steps += 1
        assert done.removed["snapshots"] <= 1
        assert steps < 100
    assert steps >= planned > 1
    assert process.retention.plan().removed.total() == 0


def test_a_second_snapshot_of_a_window_is_removed_and_one_takes_the_place_of_one_that_is_gone(world: World) -> None:
    first, second = windows_posted(world, 2)
    process, project = world.processes[0], project_id_for(world.project)

    def post_again(window: WindowRecord) -> UUID:
        snapshot = world.measured(process.database, window.start, window.end).snapshot
        assert snapshot is not None
        return process.client.post_snapshot(project, snapshot.body)

    post_again(first)
    other = post_again(second)
    process.client.delete_snapshot(project, UUID(second.snapshot_id))
    world.remove_old(0)
    found = world.in_ui()
    assert found[Window(first.start, first.end).key] == [UUID(first.snapshot_id)]
    assert found[Window(second.start, second.end).key] == [other]
    assert {str(other)} == {one.snapshot_id for one in world.windows() if one.start == second.start}


@pytest.mark.parametrize("point", ["measured", "reported", "posted", "recording", "recorded"])
def test_a_row_that_is_erased_while_its_window_is_processed_is_named_nowhere(world: World, point: str) -> None:
    while world.clock.time.timestamp() // 300 % 4:  # the windows of these times fail a check
        world.pass_time(60)
    world.rows(0, 3, 0)
    process, (erased, *kept) = world.processes[0], world.logged
    blank = partial(blank_ids, world.reports)

    def erase_one() -> None:
        assert erase(process.database, [erased], by="a test") == [erased]
        erase_mentions(process.database, [erased], by="a test", blank=blank)

    process.faults.at_point[point] = erase_one
    world.pass_time(300)
    world.beat(0)
    assert point not in process.faults.at_point
    (window,) = [one for one in world.windows() if one.failed_checks]
    assert window.report_file is not None
    report = (world.reports / window.report_file).read_text()
    assert erased not in report
    assert all(name in report for name in kept)
    with process.database.reading() as connection:
        content = zlib.decompress(connection.execute(select(changed_rows.c.content)).scalar_one()).decode()
    assert erased not in content
    assert all(name in content for name in kept)


def test_snapshots_of_windows_that_the_log_does_not_know_are_left_alone(world: World) -> None:
    (window,) = windows_posted(world, 1)
    process = world.processes[0]
    elsewhere = (window.start - timedelta(days=1), window.end - timedelta(days=1))
    snapshot = world.measured(process.database, *elsewhere).snapshot
    assert snapshot is not None
    process.client.post_snapshot(project_id_for(world.project), snapshot.body)
    process.client.post_snapshot(project_id_for(world.project), snapshot.body)
    world.remove_old(0)
    assert len(world.in_ui()[Window(*elsewhere).key]) == 2


def test_the_command_shows_what_it_would_remove_and_then_removes_it(
    world: World,
    iris_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.clock.time -= timedelta(days=1000)  # old by the real clock, which the command goes by
    for process in world.processes:
        process.database._clock = type(process.database._clock)(world.clock.uptime)
    windows_posted(world, 4)
    settings = {
        "DATABASE_URL": world.url,
        "MODEL_DIR": str(iris_artifact),
        "REPORTS_DIR": str(world.reports),
        "EVIDENTLY_URL": world.ui_url,
        "EVIDENTLY_SECRET": SECRET,
        "EVIDENTLY_PROJECT": world.project,
        "SNAPSHOT_TIERS": "all:30d",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"VIGIE_{name}", value)
    monkeypatch.setenv("COLUMNS", "120")
    assert command.main(["--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "would be freed" in planned
    assert len(world.in_ui()) == 4
    assert command.main([]) == 0
    went = capsys.readouterr().out
    for out in (planned, went):
        counts = [[cell.strip() for cell in line.split("│")][1:3] for line in out.splitlines() if "VIGIE_" in line]
        assert counts == [
            ["snapshots in Evidently UI", "4"],
            ["HTML reports", "4"],
            ["logged predictions", "8"],
            ["their labels", "4"],
        ]
    assert world.in_ui() == {}
    monkeypatch.setenv("VIGIE_EVIDENTLY_URL", "http://127.0.0.1:9")
    assert command.main([]) == 1
    assert "no answer from Evidently UI" in capsys.readouterr().err
    monkeypatch.setenv("VIGIE_SNAPSHOT_TIERS", "weekly")
    assert command.main([]) == 2
    assert "'weekly' in 'weekly' is no time" in capsys.readouterr().err


def test_a_running_api_removes_what_is_old_and_says_so(
    iris_artifact: Path, tmp_path: Path, ui_port: int, pool: pd.DataFrame
) -> None:
    settings = {"VIGIE_SNAPSHOT_TIERS": "all:1h", "VIGIE_RETENTION_INTERVAL_SECONDS": "1"}
    api = ApiProcess(tmp_path, iris_artifact, ui_port, **settings)
    api.start()
    caller = Caller(api.url, pool)
    try:
        old_ids = caller.send(40)
        first = caller.snapshot()
        caller.send(40)
        caller.snapshot()
        with closing(sqlite3.connect(api.database, timeout=10)) as log:
            year = 365 * 24 * HOUR * 1_000_000
            old = f"({', '.join('?' * len(old_ids))})"
            log.execute('UPDATE windows SET "end" = "end" - ? WHERE start = (SELECT min(start) FROM windows)', [year])
            log.execute(f"UPDATE predictions SET logged_at = logged_at - ? WHERE id IN {old}", [year, *old_ids])  # noqa: S608 - question marks
            log.commit()
        window = removed_in_time(caller, first["start"])
        assert (window["status"], window["rows"]) == ("posted", 40)
        assert (window["report_url"], window["evidently_url"]) == (None, None)
        assert window["report_removed_at"]
        assert httpx.get(first["report_url"]).status_code == 404
        assert len({point["start"] for point in points(caller)}) == 1
        labels = [{"prediction_id": key, "label": "setosa"} for key in old_ids[:2]]
        receipt = caller.http.post("/feedback", json={"labels": labels}).json()
        assert receipt == {"accepted": 0, "unknown": old_ids[:2]}
        metrics = caller.http.get("/metrics").text
        for kind, count in (("snapshots", 1), ("reports", 1), ("predictions", 40), ("labels", 40)):
            assert f'vigie_retention_removed_total{{kind="{kind}"}} {count}.0' in metrics
        assert 'vigie_retention_runs_total{outcome="failed"} 0.0' in metrics
    finally:
        caller.http.close()
        api.stop()


def removed_in_time(caller: Caller, start: str) -> dict[str, object]:
    """Return the window once its snapshot, and all of its rows, have been removed."""
    deadline = monotonic() + 90
    while monotonic() < deadline:
        window = next(one for one in caller.windows() if one["start"] == start)
        text = caller.http.get("/metrics").text
        if window["snapshot_removed_at"] and 'vigie_retention_removed_total{kind="labels"} 40.0' in text:
            return window
        sleep(0.1)
    raise TimeoutError(f"still {window}")


def points(caller: Caller) -> list[dict[str, object]]:
    series = caller.http.get("/snapshots/metrics", params={"name": "data_drift"}).json()["series"]
    return [point for one in series for point in one["points"]]
