"""From logged rows to a snapshot in a real Evidently UI."""

import subprocess
import sys
from pathlib import Path

import httpx

from scripts.stack.stack import Stack
from tests.integration.api.conftest import FEATURES, Caller


def snapshots_in_ui(stack: Stack, evidently_url: str) -> list[str]:
    project = evidently_url.split("/projects/")[1].split("/", maxsplit=1)[0]
    found = httpx.get(f"{stack.config.ui_url}/api/projects/{project}/snapshots").raise_for_status().json()
    return [str(item["metadata"]["window"]) for item in found]


def test_a_steady_window_is_posted_without_failed_checks(caller: Caller, stack: Stack) -> None:
    caller.send(200, seed=1)
    window = caller.snapshot()
    assert window["status"] == "posted"
    assert (window["rows"], window["labelled_rows"]) == (200, 200)
    assert window["failed_checks"] == []
    assert window["not_computed"] == []
    key = f"{window['start']}/{window['end']}"
    assert snapshots_in_ui(stack, window["evidently_url"]).count(key) == 1


def test_a_shifted_window_is_flagged_with_the_columns_and_their_thresholds(caller: Caller) -> None:
    caller.send(200, seed=2, shift=2.0)
    window = caller.snapshot()
    drifted = {check["column"]: check for check in window["failed_checks"] if check["check"] == "data_drift"}
    assert set(drifted) == {"sepal_length", "sepal_width", "petal_length", "petal_width"}
    for check in drifted.values():
        assert check["value"] >= check["threshold"] > 0


def test_the_rows_that_carry_a_change_are_named_with_what_was_logged_of_them(caller: Caller) -> None:
    ids = caller.send(200, seed=5, shift=2.0)
    window = caller.snapshot()
    path = f"/snapshots/{window['start']}/rows"
    found = caller.http.get(path, params={"check": "data_drift", "column": "petal_length", "limit": 20})
    rows = found.raise_for_status().json()["rows"]
    assert len(rows) == 20
    assert {row["prediction_id"] for row in rows} <= set(ids)
    assert {(row["check"], row["column"]) for row in rows} == {("data_drift", "petal_length")}
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5
    first = rows[0]
    assert set(first["features"]) == {"sepal_length", "sepal_width", "petal_length", "petal_width"}
    assert first["prediction"] in first["probabilities"]
    assert first["label"] in first["probabilities"]
    failed = {(check["check"], check["column"]) for check in window["failed_checks"]}
    every = caller.http.get(path, params={"limit": 200}).raise_for_status().json()["rows"]
    assert {(row["check"], row["column"]) for row in every} <= failed
    assert len(every) > 20
    assert first["prediction_id"] in httpx.get(window["report_url"]).text


def test_rows_of_a_window_that_never_began_are_not_found(caller: Caller) -> None:
    answer = caller.http.get("/snapshots/2001-01-01T00:00:00Z/rows")
    assert answer.status_code == 404
    assert "no window starts at 2001-01-01T00:00:00+00:00" in answer.json()["detail"]
    assert caller.http.get("/snapshots/yesterday/rows").status_code == 422
    assert caller.http.get("/snapshots/2001-01-01T00:00:00Z/rows", params={"check": "x"}).status_code == 422
    assert caller.http.get("/snapshots/2001-01-01T00:00:00Z/rows", params={"limit": 501}).status_code == 422


def test_a_window_with_too_few_rows_is_skipped_with_the_reason(caller: Caller) -> None:
    caller.send(5)
    window = caller.snapshot()
    assert (window["status"], window["rows"]) == ("skipped", 5)
    assert "not enough data: 5 of at least 30 rows, 5 of at least 30 labels" in window["reason"]
    assert window["failed_checks"] == []


def test_a_window_without_labels_says_what_it_could_not_compute(caller: Caller) -> None:
    caller.send(100, labelled=False)
    window = caller.snapshot()
    assert window["status"] == "posted"
    assert window["labelled_rows"] == 0
    assert any(note.startswith("performance") for note in window["not_computed"])
    assert "accuracy" not in {check["column"] for check in window["failed_checks"]}


def test_labels_that_arrive_later_count_in_the_window_of_their_arrival(caller: Caller) -> None:
    ids = caller.send(60, labelled=False)
    assert caller.snapshot()["labelled_rows"] == 0
    labels = [{"prediction_id": key, "label": "setosa"} for key in ids]
    caller.http.post("/feedback", json={"labels": labels}).raise_for_status()
    later = caller.snapshot()
    assert (later["status"], later["rows"], later["labelled_rows"]) == ("posted", 0, 60)
    # every label is the same class: other labels than the reference's, and not what the inputs let expect
    assert {check["check"] for check in later["failed_checks"]} == {"target_drift", "concept_drift", "performance"}


def test_the_report_is_a_page_that_needs_nothing_else(caller: Caller, stack: Stack) -> None:
    caller.send(100)
    window = caller.snapshot()
    report = httpx.get(window["report_url"])
    assert report.status_code == 200
    assert report.headers["content-type"].startswith("text/html")
    assert 'src="http' not in report.text
    reports = Path(stack.config.data_dir) / "reports" / window["start"][:10]
    assert [file.name for file in reports.iterdir() if file.suffix != ".html"] == []


def test_the_values_of_the_windows_are_a_time_series(caller: Caller) -> None:
    caller.send(100, seed=3)
    first = caller.snapshot()
    caller.send(100, seed=4)
    second = caller.snapshot()
    query = {"name": "data_drift", "column": "petal_width", "from": first["start"]}
    (series,) = caller.http.get("/snapshots/metrics", params=query).json()["series"]
    assert [point["start"] for point in series["points"]] == [first["start"], second["start"]]
    assert all(0 <= point["value"] < 10 for point in series["points"])
    names = {one["name"] for one in caller.http.get("/snapshots/metrics").json()["series"]}
    assert names >= {"accuracy", "f1", "data_drift", "prediction_drift", "target_drift", "missing_share", "rows"}


def test_a_window_is_explained_and_counts_what_was_refused(caller: Caller) -> None:
    assert caller.http.post("/predict", json={"sepal_length": "long"}).status_code == 422
    caller.send(100, seed=5)  # the next commit takes the count along
    window = caller.snapshot()
    query = {"from": window["start"]}
    found = {
        (one["name"], one["column"]): one["points"][0]["value"]
        for one in caller.http.get("/snapshots/metrics", params=query).json()["series"]
    }
    assert found["rejected_requests", "float_type"] == 1
    shares = [found["attribution", name] for name in FEATURES]
    assert all(share > 0 for share in shares)
    assert 0.9 < round(found["attribution_ndcg", None], 12) <= 1  # a sum of shares, so it may round above 1


def test_a_window_of_100_000_rows_is_sampled_and_says_so(caller: Caller, stack: Stack) -> None:
    for seed in range(10):
        caller.send(10_000, labelled=False, seed=seed)
    window = caller.snapshot()
    assert (window["status"], window["rows"]) == ("posted", 100_000)
    project = window["evidently_url"].split("/projects/")[1].split("/")[0]
    found = httpx.get(f"{stack.config.ui_url}/api/projects/{project}/snapshots", timeout=30).json()
    key = f"{window['start']}/{window['end']}"
    (metadata,) = [item["metadata"] for item in found if item["metadata"]["window"] == key]
    assert 0.19 < float(metadata["sampled_fraction"]) < 0.21
    assert window["failed_checks"] == []


def test_bad_quality_is_flagged(caller: Caller) -> None:
    row = {"sepal_length": None, "sepal_width": 3.0, "petal_length": 4000.0, "petal_width": 1.0}
    caller.http.post("/predict/batch", json={"rows": [row] * 100}).raise_for_status()
    window = caller.snapshot()
    flagged = {check["column"] for check in window["failed_checks"] if check["check"] == "data_quality"}
    assert flagged == set(FEATURES)  # missing, out of range, and the other two stuck at one value


def test_asking_twice_takes_one_snapshot(caller: Caller) -> None:
    caller.send(100)
    answers = [caller.http.post("/snapshots").status_code for _ in range(2)]
    assert answers == [202, 409]


def test_a_report_of_any_stretch_of_the_log_can_be_made_by_hand(caller: Caller, stack: Stack, tmp_path: Path) -> None:
    caller.send(100, seed=6)
    report = tmp_path / "by-hand.html"
    environment = {**stack.config.api_environment(), "VIGIE_EVIDENTLY_SECRET_FILE": str(stack.config.secret_file)}
    command = [
        sys.executable,
        "-m",
        "scripts.report",
        "--from",
        "2020-01-01",
        "--to",
        "2100-01-01T00:00",
        "--out",
        str(report),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "failed checks" in done.stdout
    assert "Data drift" in report.read_text(encoding="utf-8")
    command[command.index("2100-01-01T00:00")] = "2020-01-02"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, "not enough data: 0 of at least 30 rows" in done.stderr) == (1, True)
