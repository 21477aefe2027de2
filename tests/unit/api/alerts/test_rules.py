"""When an alert fires, when it is over, and what it says: from windows alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from api.alerts.next_steps import NextSteps
from api.alerts.payload import Wording, alert_of, summary
from api.alerts.rules import CheckState, Quorum, state_of
from api.prediction_log.records import WindowRecord, WindowStatus
from api.snapshots.health import SnapshotLinks
from evidently_workspace.checks import CHECKS, CheckName

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)
DELAY = timedelta(seconds=3)
TWO_OF_THREE = Quorum(2, 3)
DATA_DRIFT = next(check for check in CHECKS if check.name == "data_drift")
LINKS = SnapshotLinks("https://vigie.example/", "https://evidently.example", "iris")
WORDING = Wording("iris", LINKS, timedelta(minutes=4), NextSteps("https://vigie.example", None, Path("data/model")))


def failure(column: str | None = "petal_length", value: float = 0.8, check: str = "data_drift") -> dict[str, object]:
    return {"check": check, "column": column, "value": value, "threshold": 0.4}


def window(place: int, *failures: dict[str, object]) -> WindowRecord:
    start = NOON + place * STEP
    return WindowRecord(
        start=start,
        end=start + STEP,
        status=WindowStatus.POSTED,
        reason=None,
        rows=100,
        labelled_rows=100,
        failed_checks=list(failures),
        not_computed=[],
        model_version="v1",
        project_id="p",
        snapshot_id=f"s{place}",
        report_file=f"r{place}.html",
        tries=1,
        retry_at=None,
        finished_at=start + STEP + DELAY,
        duration_seconds=1.0,
    )


def history(story: str) -> list[WindowRecord]:
    """Windows, newest first, from a story told oldest first: x failed, . passed."""
    return [window(place, failure()) if mark == "x" else window(place) for place, mark in enumerate(story)][::-1]


def after(story: str, quorum: Quorum = TWO_OF_THREE) -> CheckState | None:
    return state_of("data_drift", history(story), quorum)


def finish(place: int) -> datetime:
    return NOON + (place + 1) * STEP + DELAY


def test_every_check_of_a_snapshot_has_an_alert() -> None:
    assert [check.name for check in CHECKS] == list(get_args(CheckName))
    assert len({check.alertname for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("story", ["", ".", "x", "...", "x..x", ".x.", "x..x..x"])
def test_fewer_failed_windows_than_the_quorum_are_no_alert(story: str) -> None:
    assert after(story) is None


@pytest.mark.parametrize(
    ("story", "failed", "considered"), [("xx", 2, 2), ("x.x", 2, 3), ("..xx", 2, 3), ("xxx", 3, 3)]
)
def test_an_alert_fires_once_enough_of_the_last_windows_failed(story: str, failed: int, considered: int) -> None:
    state = after(story)
    assert state is not None
    assert (state.firing, state.failed, state.considered) == (True, failed, considered)


def test_it_goes_on_since_the_window_that_made_it_fire() -> None:
    state = after("..xx.x")
    assert state is not None
    assert (state.firing, state.since, state.fired_at) == (True, finish(3), finish(3))


def test_it_is_over_since_the_window_that_left_too_few_failed_ones() -> None:
    state = after("..xx....")
    assert state is not None
    assert (state.firing, state.fired_at, state.since) == (False, finish(3), finish(5))
    assert state.newest_failed.start == NOON + 3 * STEP


def test_one_that_fires_again_began_anew() -> None:
    state = after("xx...xx")
    assert state is not None
    assert (state.firing, state.since) == (True, finish(6))


def test_a_quorum_of_one_follows_every_window() -> None:
    assert [state and state.firing for state in (after(story, Quorum(1, 1)) for story in (".", "x", "x.", "x.x"))] == [
        None,
        True,
        False,
        True,
    ]


def test_other_checks_do_not_count() -> None:
    windows = [window(place, failure(check="target_drift")) for place in (1, 0)]
    assert state_of("data_drift", windows, TWO_OF_THREE) is None


def test_a_firing_alert_lives_until_it_is_missed_and_labels_hold_no_column() -> None:
    state = after(".xx")
    assert state is not None
    now = datetime(2026, 11, 23, 12, 20, 0, 5, tzinfo=UTC)
    assert alert_of(DATA_DRIFT, state, WORDING, now) == {
        "labels": {"alertname": "ModelDataDrift", "check": "data_drift", "model": "iris", "severity": "warning"},
        "annotations": {
            "summary": "Data drift in 2 of the last 3 windows of iris; the newest that failed: "
            "petal_length 0.8 (threshold 0.4).",
            "window": "2026-11-23T12:10:00Z/2026-11-23T12:15:00Z",
            "columns": "petal_length",
            "next_step": "look at the rows: "
            "https://vigie.example/snapshots/2026-11-23T12:10:00Z/rows?check=data_drift&column=petal_length; correct "
            "what sends them, or, if this is the new normal, set the alarms by it after a week: "
            "python -m scripts.calibrate --from 2026-11-23T12:10:00Z --to 2026-11-30T12:10:00Z",
            "report_url": "https://vigie.example/reports/r2.html",
            "evidently_url": "https://evidently.example/projects/p/reports/s2",
        },
        "startsAt": "2026-11-23T12:15:03Z",
        "endsAt": "2026-11-23T12:24:00.000005Z",
        "generatorURL": "https://vigie.example/reports/r2.html",
    }


def test_an_alert_says_the_cause_of_the_worst_failure_where_it_is_known() -> None:
    known = failure(None, 0.2, "performance") | {"cause": "changed inputs explain -0.1"}
    check = next(one for one in CHECKS if one.name == "performance")
    state = state_of("performance", [window(1, known), window(0, known)], TWO_OF_THREE)
    assert state is not None
    assert alert_of(check, state, WORDING, NOON)["annotations"]["cause"] == "changed inputs explain -0.1"


def test_an_alert_that_is_over_says_since_when() -> None:
    state = after(".xx..")
    assert state is not None
    alert = alert_of(DATA_DRIFT, state, WORDING, NOON + timedelta(hours=1))
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-11-23T12:15:03Z", "2026-11-23T12:25:03Z")


def test_the_summary_names_the_worst_columns_and_the_annotation_all() -> None:
    failures = [failure(f"c{place}", 0.4 + place / 100) for place in range(40)]
    state = state_of("data_drift", [window(1, *failures), window(0, *failures)], TWO_OF_THREE)
    assert state is not None
    assert "c39 0.79 (threshold 0.4), c38" in summary(DATA_DRIFT, state, "iris")
    assert summary(DATA_DRIFT, state, "iris").endswith("c35 0.75 (threshold 0.4) and 35 more.")
    assert len(alert_of(DATA_DRIFT, state, WORDING, NOON)["annotations"]["columns"].split(", ")) == 40


def test_a_column_that_failed_in_two_ways_is_named_once_and_a_score_is_no_column() -> None:
    failures = [failure("age", 0.9) | {"measure": "missing"}, failure("age", 0.8) | {"measure": "out_of_range"}]
    failures += [failure("accuracy", 0.7) | {"measure": "accuracy"}]
    state = state_of("data_drift", [window(1, *failures), window(0, *failures)], TWO_OF_THREE)
    assert state is not None
    annotations = alert_of(DATA_DRIFT, state, WORDING, NOON)["annotations"]
    assert annotations["columns"] == "age"
    assert annotations["summary"].endswith(
        "age missing 0.9 (threshold 0.4), age out_of_range 0.8 (threshold 0.4), accuracy 0.7 (threshold 0.4)."
    )


def test_a_check_without_a_column_is_named_by_its_measure() -> None:
    state = state_of("data_drift", [window(1, failure(None)), window(0, failure(None))], TWO_OF_THREE)
    assert state is not None
    alert = alert_of(DATA_DRIFT, state, WORDING, NOON)
    assert "columns" not in alert["annotations"]
    assert "the newest that failed: data_drift 0.8 (threshold 0.4)." in alert["annotations"]["summary"]


def test_the_checks_of_a_regression_model_are_named_by_what_they_measure() -> None:
    by_name = {check.name: check for check in CHECKS}
    error = {"check": "performance", "column": "mean_absolute_error", "measure": "mean_absolute_error"}
    bias = {"check": "concept_drift", "column": None, "measure": "bias_z"}
    for failed, said in (
        (error | {"value": 139.1, "threshold": 62.79}, "mean_absolute_error 139 (threshold 62.8)."),
        (bias | {"value": 10.2, "threshold": 4.82}, "bias_z 10.2 (threshold 4.82)."),
    ):
        check = by_name[str(failed["check"])]
        state = state_of(check.name, [window(1, failed), window(0, failed)], TWO_OF_THREE)
        assert state is not None
        annotations = alert_of(check, state, WORDING, NOON)["annotations"]
        assert annotations["summary"].endswith(said)
        assert "columns" not in annotations


def test_every_kind_of_model_has_a_value_that_shows_its_checks_were_computed() -> None:
    measures = {check.name: check.measures for check in CHECKS}
    assert {"accuracy", "mean_absolute_error"} <= set(measures["performance"])
    assert "concept_z" in measures["concept_drift"]
