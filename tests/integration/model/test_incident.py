"""The incident of docs/incident.md, run as it is written: only the ports and the address that is told are others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer

from tests.integration.model.test_your_model import ROOT, Walk
from tests.integration.scripts.processes import eventually

PAGE = (ROOT / "docs" / "incident.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TELL_SECONDS = 60

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def walk(tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    httpserver.expect_request("/told", method="POST").respond_with_data("")
    monkeypatch.setenv("NOTIFY", f"json://{httpserver.host}:{httpserver.port}/told")
    walk = Walk(tmp_path, COMMANDS)
    yield walk
    if walk.server is not None:
        walk.server.stop()


def told(server: HTTPServer) -> list[dict[str, Any]]:
    return [json.loads(request.get_data()) for request, _ in server.log if request.path == "/told"]


def checks(window: dict[str, Any]) -> set[str]:
    return {check["check"] for check in window["failed_checks"]}


def test_an_incident_goes_from_the_message_to_calm(walk: Walk, httpserver: HTTPServer) -> None:
    walk.run("model.train")
    walk.serve()
    walk.run("--scenario steady")
    assert checks(walk.window()) == set()
    assert told(httpserver) == []
    for _ in range(2):
        walk.run("--scenario concept_drift")
        assert checks(walk.window()) >= {"concept_drift", "performance"}
        assert not checks(walk.window()) & {"data_drift", "data_quality"}
    assert eventually(lambda: bool(told(httpserver)), TELL_SECONDS)
    first = told(httpserver)[0]
    assert "iris" in first["title"] + first["message"]
    assert "concept drift" in first["message"].lower()
    rows = json.loads(walk.run("rows?check=performance"))["rows"]
    assert len(rows) == 5
    assert all(row["prediction"] != row["label"] for row in rows)
    compared = walk.run("--from-log")
    assert "the candidate is better" in " ".join(compared.split())
    reloaded = json.loads(walk.run("model/reload").splitlines()[-1])
    assert reloaded["status"] == "reloaded"
    walk.run("--seed 3")
    calm = walk.window()
    assert calm["model_version"] == reloaded["model_version"]
    assert checks(calm) == set()
    page = httpx.get(f"http://127.0.0.1:{walk.api}/").text
    assert "All is well since" in page
    assert walk.finished()
