"""Mutes and thresholds as the worker of a real stack takes them up, with the model's artifact untouched."""

from datetime import UTC, datetime, timedelta
from typing import Any

from model.artifact.store import verify_artifact
from scripts.stack.stack import Stack
from tests.integration.api.conftest import FEATURES, Caller


def drifted(checks: list[dict[str, Any]]) -> set[str]:
    return {check["column"] for check in checks if check["check"] == "data_drift" and check["measure"] is None}


def test_the_next_window_follows_a_mute_and_a_threshold_and_what_takes_them_back(stack: Stack, caller: Caller) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    asked = {"check": "data_drift", "column": "petal_length", "reason": "known"}
    mute = caller.http.post("/mutes", json=asked | {"until": until}).raise_for_status().json()
    threshold = {"check": "data_drift", "column": "sepal_length", "value": 1000, "reason": "anything goes"}
    threshold = caller.http.post("/thresholds", json=threshold).raise_for_status().json()
    caller.send(200, seed=1, shift=2.0)
    window = caller.snapshot()
    assert drifted(window["failed_checks"]) == {"petal_width", "sepal_width"}
    assert drifted(window["muted_checks"]) == {"petal_length"}
    assert window["muted_checks"][0]["reason"] == "known (a caller without a key)"
    assert window["alarms_version"] is not None
    report = caller.http.get(window["report_url"]).text
    assert "Muted checks, which do not count as failed" in report
    assert "Thresholds set by hand" in report
    assert f"/snapshots/{window['start']}/rows?check=data_drift" in report

    for kind, change in (("mutes", mute), ("thresholds", threshold)):
        caller.http.delete(f"/{kind}?id={change['id']}").raise_for_status()
    caller.send(200, seed=2, shift=2.0)
    window = caller.snapshot()
    assert drifted(window["failed_checks"]) == set(FEATURES)
    assert window["muted_checks"] == []
    verify_artifact(stack.config.model_dir)
