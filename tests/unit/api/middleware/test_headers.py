import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings


def test_every_answer_tells_browsers_what_to_allow(client: TestClient) -> None:
    for path in ("/", "/docs", "/model", "/nowhere", "/health/live", "/metrics", "/snapshots?limit=x"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert len(headers.get_list("content-security-policy")) == 1


def test_the_response_to_an_unexpected_error_has_the_headers(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": "https://app.example"}))

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("inside")

    with TestClient(app) as client:  # which would raise what passes all the middleware
        answer = client.get("/broken", headers={"Origin": "https://app.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "inside" not in answer.text
    logged = next(record for record in caplog.records if record.name == "api.middleware.error_boundary")
    assert logged.exc_info is not None
    assert logged.getMessage() == "GET /broken failed"


def test_a_response_that_breaks_off_does_not_look_complete(app: FastAPI) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    @app.get("/half")
    async def stream() -> StreamingResponse:
        return StreamingResponse(half())

    with TestClient(app) as client, pytest.raises(ZeroDivisionError):
        client.get("/half")


def test_a_page_may_run_its_own_scripts_only(client: TestClient) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert scripts
    for script in scripts:
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def test_a_report_runs_as_a_page_of_nowhere(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "2026-11-23"
    folder.mkdir(parents=True)
    (folder / "one.html").write_text("<p>one</p>")
    policy = client.get("/reports/2026-11-23/one.html").headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy


def test_other_origins_are_told_nothing_by_default(client: TestClient) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/predict", headers=asked).status_code == 405
    assert "access-control-allow-origin" not in client.get("/model", headers=asked).headers


def test_an_allowed_origin_needs_no_key_for_the_preflight(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "keys.jsonl").touch()
    update = {"cors_origins": "https://app.example, https://b.example", "api_keys_file": tmp_path / "keys.jsonl"}
    with TestClient(create_app(settings.model_copy(update=update))) as client:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
        answer = client.options("/predict", headers=asked | {"Origin": "https://app.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in answer.headers
        assert client.options("/predict", headers=asked | {"Origin": "https://evil.example"}).status_code == 400
        refused = client.get("/model", headers={"Origin": "https://b.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://b.example"


def test_a_host_name_that_is_not_named_is_refused(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": "vigie.example,[::1]"}))
    with TestClient(app) as client:
        for host, status in {
            "vigie.example": 200,
            "VIGIE.example:8000": 200,
            "[::1]:8000": 200,
            "evil.example": 421,
            "vigie.example.evil": 421,
            "": 421,
        }.items():
            assert client.get("/model", headers={"Host": host}).status_code == status, host
        assert client.get("/health/ready", headers={"Host": "10.0.0.7:8000"}).status_code == 200
