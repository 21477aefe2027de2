import asyncio
import json
import logging
import os
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message

from api.app import create_app
from api.errors import BadKeys
from api.middleware.auth import ScopeRules
from api.security.keys import CHECK_SECONDS, SCOPES, KeyFile
from api.settings import Settings
from scripts.keys import create_key, revoke_key
from tests.unit.api.conftest import Bearer, Clock

PROBLEM = "application/problem+json"
CALLS = {
    ("POST", "/predict"): {"predict"},
    ("POST", "/predict/batch"): {"predict"},
    ("POST", "/feedback"): {"feedback"},
    ("GET", "/model"): {"read", "predict"},
    ("GET", "/snapshots"): {"read"},
    ("GET", "/snapshots/metrics"): {"read"},
    ("GET", "/snapshots/2026-11-23T04:45:00Z/rows"): {"read"},
    ("GET", "/reports/2026-11-23/one.html"): {"read"},
    ("GET", "/mutes"): {"read", "admin"},
    ("GET", "/thresholds"): {"read", "admin"},
    ("POST", "/mutes"): {"admin"},
    ("DELETE", "/mutes"): {"admin"},
    ("POST", "/thresholds"): {"admin"},
    ("DELETE", "/thresholds"): {"admin"},
    ("GET", "/"): {"read"},
    ("GET", "/metrics"): {"metrics"},
    ("POST", "/snapshots"): {"admin"},
    ("POST", "/model/reload"): {"admin"},
    ("GET", "/nowhere"): {"admin"},
    ("DELETE", "/model"): {"admin"},
}


def test_a_call_passes_with_its_own_scopes_only(caller: TestClient, bearer: Callable[[str], Bearer]) -> None:
    for (method, path), scopes in CALLS.items():
        for scope in SCOPES:
            answer = caller.request(method, path, headers=bearer(scope))
            assert (answer.status_code not in {401, 403}) == (scope in scopes), (method, path, scope, answer.text)


def test_every_route_but_health_needs_a_scope_and_reading_never_needs_admin(
    guarded: FastAPI,
) -> None:
    rules = ScopeRules(open_docs=True, guard_metrics=True)
    calls = {(method.upper(), path) for path, methods in guarded.openapi()["paths"].items() for method in methods}
    assert calls
    for method, path in calls:
        needed = rules.needed(method, path)
        assert (needed is None) == path.startswith("/health/"), path
        assert method != "GET" or needed != {"admin"}, f"GET {path} has no rule of its own"


def test_without_a_key_nothing_is_done_and_the_answer_says_how(caller: TestClient) -> None:
    for method, path in CALLS:
        answer = caller.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["www-authenticate"] == 'Bearer realm="Vigie"'
        assert "X-API-Key" in answer.json()["detail"]


def test_health_and_documentation_need_no_key(caller: TestClient) -> None:
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        assert caller.get(path).status_code == 200, path


def test_the_documentation_can_be_closed(settings: Settings, keys: dict[str, str], keys_file: Path) -> None:
    app = create_app(settings.model_copy(update={"api_keys_file": keys_file, "open_docs": False}))
    with TestClient(app) as client:
        for path in ("/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": keys["read"]}).status_code == 200


def test_metrics_are_open_unless_they_are_guarded(settings: Settings, keys_file: Path) -> None:
    create_key(keys_file, "one", ["predict"])
    with TestClient(create_app(settings.model_copy(update={"api_keys_file": keys_file}))) as client:
        assert client.get("/metrics").status_code == 200


def test_a_missing_scope_is_named(caller: TestClient, bearer: Callable[[str], Bearer], setosa: dict[str, Any]) -> None:
    answer = caller.post("/predict", json=setosa, headers=bearer("read"))
    assert answer.status_code == 403
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["detail"] == "the key 'read' lacks the scope predict, which this call needs"
    assert 'error="insufficient_scope", scope="predict"' in answer.headers["www-authenticate"]


def test_a_key_may_come_as_x_api_key(caller: TestClient, keys: dict[str, str], setosa: dict[str, Any]) -> None:
    assert caller.post("/predict", json=setosa, headers={"X-API-Key": keys["predict"]}).status_code == 200


def test_a_browser_may_present_a_key_as_a_password_for_reading_only(caller: TestClient, keys: dict[str, str]) -> None:
    page = {"Accept": "text/html,*/*"}
    asked = caller.get("/", headers=page)
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert caller.get("/", auth=("me", keys["read"]), headers=page).status_code == 200
    # a browser sends a password along with whatever another site makes it send
    answer = caller.post("/snapshots", auth=("me", keys["admin"]), headers=page)
    assert answer.status_code == 401
    assert not answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer vigie_wrong"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic " + b64encode(b"no colon").decode()},
        {"Authorization": "Digest username=me"},
        {"X-API-Key": ""},
        {"X-API-Key": "vigie_" + "a" * 20_000},
    ],
)
def test_what_is_no_key_is_refused(caller: TestClient, header: dict[str, Any]) -> None:
    answer = caller.get("/model", headers=header)
    assert answer.status_code == 401
    assert "vigie_" not in answer.text


def test_an_expired_key_is_refused(settings: Settings, keys_file: Path) -> None:
    soon = datetime.now(UTC) - timedelta(seconds=1)
    key = create_key(keys_file, "old", ["read"], expires=soon)
    with TestClient(create_app(settings.model_copy(update={"api_keys_file": keys_file}))) as client:
        answer = client.get("/model", headers={"X-API-Key": key})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_refused_call_costs_nothing_of_its_body(guarded: FastAPI) -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"content-length", b"5")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    asyncio.run(guarded(scope, receive, send))
    assert sent[0]["status"] == 401


def test_refusals_are_counted_by_reason(caller: TestClient, bearer: Callable[[str], Bearer]) -> None:
    caller.get("/model")
    caller.get("/model", headers={"X-API-Key": "wrong"})
    caller.get("/model", headers=bearer("admin"))
    text = caller.get("/metrics", headers=bearer("metrics")).text
    for reason in ("no_key", "unknown_key", "missing_scope"):
        assert f'vigie_denied_requests_total{{reason="{reason}"}} 1.0' in text
    assert f"vigie_api_keys {len(SCOPES):.1f}" in text
    assert "vigie_api_keys_sound 1.0" in text


def test_swagger_ui_asks_for_a_key_where_one_is_needed(caller: TestClient) -> None:
    schema = caller.get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"Bearer", "ApiKey"}
    assert schema["paths"]["/predict"]["post"]["security"] == [{"Bearer": []}, {"ApiKey": []}]
    assert {"401", "403", "429"} <= schema["paths"]["/predict"]["post"]["responses"].keys()
    assert "scope admin" in schema["paths"]["/snapshots"]["post"]["description"]
    assert "security" not in schema["paths"]["/health/live"]["get"]


def test_without_keys_the_schema_asks_for_none(client: TestClient) -> None:
    text = client.get("/openapi.json").text
    assert "securitySchemes" not in text
    assert not re.search(r'"security":', text)


def test_keys_may_come_from_the_setting_itself(settings: Settings, keys: dict[str, str], keys_file: Path) -> None:
    inline = settings.model_copy(update={"api_keys": Settings(api_keys=keys_file.read_text()).api_keys})
    with TestClient(create_app(inline)) as client:
        assert client.get("/model").status_code == 401
        assert client.get("/model", headers={"X-API-Key": keys["read"]}).status_code == 200


@pytest.mark.parametrize("content", [None, b"\xff", b"{}", b"plain-key"])
def test_an_api_with_a_broken_key_file_does_not_start(
    settings: Settings, keys_file: Path, content: bytes | None
) -> None:
    if content is not None:
        keys_file.write_bytes(content)
    with pytest.raises(BadKeys, match=str(keys_file)):
        create_app(settings.model_copy(update={"api_keys_file": keys_file}))


class Watched:
    """A key file that is looked at when the test moves the clock on."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self.seen: list[tuple[int, bool]] = []
        self._clock = clock
        self._keys = KeyFile(file, lambda count, valid: self.seen.append((count, valid)), clock)

    def knows(self, key: str, *, later: float = CHECK_SECONDS) -> bool:
        self._clock.now += later
        return self._keys.find(key.encode()) is not None


def test_a_key_is_accepted_from_the_next_check_until_it_is_revoked(keys_file: Path, clock: Clock) -> None:
    first = create_key(keys_file, "first", ["read"])
    watched = Watched(keys_file, clock)
    second = create_key(keys_file, "second", ["read"])
    assert not watched.knows(second, later=0)
    assert watched.knows(second)
    revoke_key(keys_file, "first")
    assert watched.knows(first, later=0)
    assert not watched.knows(first)
    assert watched.knows(second)
    assert watched.seen == [(1, True), (2, True), (1, True)]


@pytest.mark.parametrize("breaks", ["broken", "gone", "unreadable"])
def test_a_file_that_breaks_leaves_the_last_good_keys_and_says_so_once(
    keys_file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, breaks: str
) -> None:
    key = create_key(keys_file, "first", ["read"])
    watched = Watched(keys_file, clock)
    good = keys_file.read_text()
    with caplog.at_level(logging.ERROR):
        if breaks == "broken":
            keys_file.write_text(good + "half a li")
        elif breaks == "gone":
            keys_file.unlink()
        else:
            keys_file.unlink()
            keys_file.mkdir()
        assert all(watched.knows(key) for _ in range(3))
    assert watched.seen == [(1, True), (1, False)]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "stay valid until the file is corrected" in line
    assert "half a li" not in line
    if breaks == "unreadable":
        keys_file.rmdir()
    keys_file.write_text(json.dumps(json.loads(good) | {"name": "renamed"}))
    assert watched.knows(key)
    assert watched.seen[-1] == (1, True)


def test_a_file_of_the_same_size_and_time_is_still_seen_to_be_another(keys_file: Path, clock: Clock) -> None:
    first = create_key(keys_file, "first", ["read"])
    watched = Watched(keys_file, clock)
    before = keys_file.stat()
    revoke_key(keys_file, "first")
    second = create_key(keys_file, "again", ["read"])
    os.utime(keys_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys_file.stat().st_size == before.st_size
    assert watched.knows(second)
    assert not watched.knows(first)
