"""A model of numbers from the load to the verdict: real API, real Evidently UI, and the load's own traffic."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from model.artifact.store import read_test
from scripts.load.run import Plan, run_load
from scripts.load.summary import Summary
from scripts.load.target import probe
from scripts.load.traffic import make_calls, pool_for
from tests.integration.api.conftest import ApiProcess, Caller


@pytest.fixture
def api(diabetes_artifact: Path, tmp_path: Path, ui_port: int) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, diabetes_artifact, ui_port)
    process.start()
    yield process
    if not process.ended():
        process.stop()


class Load:
    """The load's own traffic, sent as its command sends it."""

    def __init__(self, url: str, model: Path) -> None:
        target = probe(url)
        self.url, self.pool = target.url, pool_for(target, model)

    def send(self, scenario: str) -> Summary:
        """Send 300 rows and their labels, or of bad requests as many as there are kinds."""
        calls = make_calls(scenario, self.pool, seed=1, batch=30)
        plan = Plan(scenario, rate=20, duration_seconds=0.5, label_delay_seconds=0, concurrency=4)
        return asyncio.run(run_load(self.url, calls, plan, asyncio.Event(), lambda _summary, _doing: None))


def test_each_kind_of_traffic_fails_the_checks_of_its_name(api: ApiProcess, diabetes_artifact: Path) -> None:
    caller = Caller(api.url, read_test(diabetes_artifact))
    load = Load(api.url, diabetes_artifact)
    failed: dict[str, set[str]] = {}
    with closing(caller.http):
        refused = load.send("bad_requests")
        assert (refused.unexpected, refused.rows["label that is no number"]) == ({}, 1)
        assert caller.http.post("/snapshots").status_code == 409  # of which nothing was logged
        for scenario in ("steady", "target_drift", "concept_drift"):
            labels = load.send(scenario).labels
            assert (labels.accepted, labels.failed) == (300, 0)
            window = caller.snapshot()
            assert (window["status"], window["rows"], window["labelled_rows"]) == ("posted", 300, 300), window
            assert window["not_computed"] == []
            failed[scenario] = {check["check"] for check in window["failed_checks"]}
        series = caller.http.get("/snapshots/metrics", params={"name": "mean_absolute_error"}).json()["series"]
    assert failed["steady"] == set()
    assert "target_drift" in failed["target_drift"]
    # other labels for the same inputs, and neither other inputs nor another distribution of labels
    assert failed["concept_drift"] == {"concept_drift", "performance"}
    steady, *_, mirrored = (point["value"] for point in series[0]["points"])
    assert mirrored > 1.5 * steady > 0
