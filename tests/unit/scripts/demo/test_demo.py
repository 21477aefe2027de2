import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from evidently_workspace.checks import CHECKS
from scripts.demo.__main__ import RUNS_KEPT, RunFolder
from scripts.demo.phases import Phase, PlayedPhase, SnapshotWindow, next_boundary, traffic_of, windows_between
from scripts.demo.story import Outcome
from scripts.demo.table import show_scenarios, show_windows, unexpected

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
STEADY = Phase("steady", 2, expects=None)
DRIFT = Phase("data_drift", 1, expects="data_drift", must_pass=frozenset({"concept_drift"}))
LINK = (
    "http://127.0.0.1:8001/projects/5c0814f5-0277-54a3-bb84-b2adb3698389/reports/01a206db-a0f3-73b2-a5c7-ac0853ea8904"
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def window(start: float, *checks: str, status: str = "posted", reason: str | None = None) -> SnapshotWindow:
    failed = [{"check": check, "column": "age", "value": 0.7, "threshold": 0.4} for check in checks]
    return SnapshotWindow.model_validate_json(
        json.dumps(
            {
                "start": at(start).isoformat(),
                "end": at(start + 20).isoformat(),
                "rows": 400,
                "labelled_rows": 380,
                "status": status,
                "reason": reason,
                "failed_checks": failed,
                "report_url": None,
                "evidently_url": LINK,
            }
        )
    )


PLAYED = [PlayedPhase(STEADY, at(0.3), at(38.5)), PlayedPhase(DRIFT, at(40.3), at(58.5))]


def seen(*windows: SnapshotWindow) -> dict[datetime, SnapshotWindow]:
    return {one.start: one for one in windows}


GOOD = seen(window(0), window(20), window(40, "data_drift", "prediction_drift"))


def test_boundaries_are_multiples_of_the_interval_in_utc() -> None:
    assert next_boundary(at(0), 20) == at(0)
    assert next_boundary(at(0.001), 20) == at(20)
    assert next_boundary(at(19.999), 20) == at(20)


def test_the_windows_of_a_span_are_those_it_touches() -> None:
    assert [start for start, _ in windows_between(at(0.3), at(38.5), 20)] == [at(0), at(20)]
    assert [start for start, _ in windows_between(at(20), at(40), 20)] == [at(20)]


@pytest.mark.parametrize(
    ("start", "name", "full"),
    [(0, "steady", True), (20, "steady", True), (40, "data_drift", True), (60, "idle", False), (30, "mixed", False)],
)
def test_a_window_is_what_played_in_it(start: float, name: str, full: bool) -> None:
    traffic = traffic_of(at(start), at(start + 20), PLAYED)
    assert (traffic.name, traffic.full) == (name, full)


def test_a_window_in_which_a_phase_only_began_is_not_full() -> None:
    assert traffic_of(at(-15), at(5), PLAYED).name == "steady, in part"


def test_windows_as_expected_give_no_line() -> None:
    assert unexpected(PLAYED, GOOD, 20) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            window(20, "data_drift"),
            "12:00:20 (steady) should have no failed checks, but has data_drift of age (0.70, limit 0.40)",
        ),
        (window(40), "12:00:40 (data_drift) should have a failed check data_drift, but has none"),
        (window(40, "prediction_drift"), "should have a failed check data_drift"),
        (
            window(40, "data_drift", "concept_drift"),
            "12:00:40 (data_drift) should not have the failed check concept_drift of age (0.70, limit 0.40)",
        ),
        (window(0, status="skipped", reason="not enough data"), "12:00:00 (steady) is skipped: not enough data"),
        (window(40, status="failed"), "(data_drift) is failed: no reason given"),
    ],
)
def test_each_window_that_is_not_as_expected_is_named(changed: SnapshotWindow, message: str) -> None:
    (line,) = unexpected(PLAYED, GOOD | seen(changed), 20)
    assert message in line


def test_a_window_that_never_came_is_named() -> None:
    (line,) = unexpected(PLAYED, {at(0): GOOD[at(0)], at(40): GOOD[at(40)]}, 20)
    assert "12:00:20 (steady) is not in GET /snapshots" in line


def test_a_phase_without_a_full_window_is_named() -> None:
    short = [PLAYED[0], PlayedPhase(DRIFT, at(45), at(58))]
    assert unexpected(short, GOOD, 20) == ["no window has traffic of only data_drift"]


@pytest.mark.parametrize("width", [80, 100, 280])
def test_the_links_are_whole_however_narrow_the_terminal(width: int) -> None:
    shown = io.StringIO()
    show_windows(Outcome(played=PLAYED, windows=GOOD), Console(file=shown, width=width))
    assert shown.getvalue().count(LINK) == 3


def test_the_tables_fit_a_hundred_columns() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    busy = window(40, *(check.name for check in CHECKS))
    outcome = Outcome(played=PLAYED, windows=GOOD | seen(busy, window(60, status="skipped", reason="too few")))
    show_windows(outcome, console)
    show_scenarios(outcome, console)
    lines = [line for line in shown.getvalue().splitlines() if LINK not in line]
    assert max(len(line) for line in lines) <= 100
    assert all(any(check.name in line for line in lines) for check in CHECKS)
    assert "attribution" in shown.getvalue()
    assert "…" not in shown.getvalue()


def test_the_last_table_counts_the_windows_in_which_each_check_failed_of_a_scenario() -> None:
    shown = io.StringIO()
    show_scenarios(Outcome(played=PLAYED, windows=GOOD), Console(file=shown, width=100))
    cells = {line.split()[0]: line.split()[1:] for line in shown.getvalue().splitlines() if line.split()}
    assert cells["steady"] == ["·"] * 7 + ["yes"]
    assert cells["data_drift"] == ["1/1", "1/1", *["·"] * 5, "yes"]


def test_each_run_has_a_fresh_folder_and_the_oldest_are_removed(tmp_path: Path) -> None:
    for _ in range(RUNS_KEPT + 2):
        with RunFolder(tmp_path) as folder:
            assert [path.name for path in folder.path.iterdir()] == ["running.lock"]
            time.sleep(0.001)
    assert len(list((tmp_path / "runs").iterdir())) == RUNS_KEPT


def test_the_folder_of_a_running_demo_is_never_removed(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as running:
        for _ in range(RUNS_KEPT + 2):
            with RunFolder(tmp_path):
                pass
        assert running.path.is_dir()


def test_what_is_not_a_run_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "runs" / "0-mine").mkdir(parents=True)
    for _ in range(RUNS_KEPT + 1):
        with RunFolder(tmp_path):
            pass
    assert (tmp_path / "runs" / "0-mine").is_dir()
