import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("update", "answered"),
    [
        ({}, {"localhost": 200, "127.0.0.1:8000": 200, "[::1]:8000": 200, "evil.example": 421, "": 421}),
        ({"public_url": "https://vigie.example:8443/api"}, {"vigie.example": 200, "localhost": 200, "evil": 421}),
        ({"host": "0.0.0.0"}, {"evil.example": 200}),  # noqa: S104 - the name alone matters here
    ],
)
def test_an_api_that_only_this_machine_reaches_answers_to_its_names_only(
    settings: Settings, update: dict[str, Any], answered: dict[str, int]
) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": None, **update}))
    with TestClient(app) as client:
        for host, status in answered.items():
            assert client.get("/model", headers={"Host": host}).status_code == status, host
            assert client.post("/snapshots", headers={"Host": host}).status_code == (409 if status == 200 else 421)


def test_a_page_of_another_site_changes_nothing(settings: Settings, setosa: dict[str, Any]) -> None:
    update = {"cors_origins": "https://app.example", "public_url": "https://vigie.example"}
    with TestClient(create_app(settings.model_copy(update=update))) as client:
        assert client.post("/predict", json=setosa).status_code == 200
        foreign = (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://testserver:3000"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
        )
        for headers in foreign:
            for path in ("/snapshots", "/model/reload", "/predict", "/feedback"):
                answer = client.post(path, json=setosa, headers=headers)
                assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            assert client.get("/snapshots", headers=headers).json()["windows"] == []
        assert 'vigie_denied_requests_total{reason="foreign_origin"} 20.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://testserver"},
        {"Origin": "https://testserver"},  # a proxy ends TLS
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"},  # a proxy changes the host
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://vigie.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"},
    ],
)
def test_our_own_pages_and_the_named_ones_may_call(
    settings: Settings, setosa: dict[str, Any], headers: dict[str, str]
) -> None:
    update = {"cors_origins": "https://app.example", "public_url": "https://vigie.example"}
    with TestClient(create_app(settings.model_copy(update=update))) as client:
        assert client.post("/predict", json=setosa, headers=headers).status_code == 200
