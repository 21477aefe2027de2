"""What clients do that is not quite right, or that a proxy does for them."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.app import create_app
from api.prediction_log.database import Database
from api.prediction_log.tables import predictions
from api.prediction_log.windows import WindowStore
from api.routes import predictions as predictions_routes
from api.settings import Settings

JSON = {"content-type": "application/json"}
Logged = Callable[[str], list[dict[str, Any]]]


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/metrics", "/docs", "/model", "/snapshots"])
def test_a_head_request_gets_the_headers_of_the_page_and_no_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert client.head("/predict").status_code == 405


@pytest.mark.parametrize("packed", [gzip.compress, lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])])
def test_a_body_may_be_packed_with_gzip(
    client: TestClient, setosa: dict[str, Any], packed: Callable[[bytes], bytes], logged: Logged
) -> None:
    headers = JSON | {"content-encoding": "gzip"}
    answer = client.post("/predict", content=packed(orjson.dumps(setosa)), headers=headers)
    assert answer.status_code == 200
    assert [row["id"] for row in logged("predictions")] == [answer.json()["prediction_id"]]


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(client: TestClient, settings: Settings) -> None:
    body = gzip.compress(b" " * 100 * settings.max_body_bytes)
    assert len(body) < settings.max_body_bytes
    answer = client.post("/predict", content=body, headers=JSON | {"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "50,000 bytes unpacked" in answer.json()["detail"]
    assert 'vigie_rejected_requests_total{reason="body_too_large"} 1.0' in client.get("/metrics").text


async def with_threads(threads: int, call: Coroutine[Any, Any, list[int]]) -> list[int]:
    """Await the call where so many threads are free to work for it."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    return await call


def test_few_bodies_are_unpacked_at_once(app: FastAPI, setosa: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    unpacking, most, unpack = 0, 0, predictions_routes.unpacked

    def slowly_unpacked(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
        nonlocal unpacking, most
        unpacking += 1
        most = max(most, unpacking)
        sleep(0.02)  # as long as a large one takes; others would come in between
        unpacking -= 1
        return unpack(body, encoding, max_bytes)

    async def call() -> list[int]:
        headers = JSON | {"content-encoding": "gzip"}
        body = gzip.compress(orjson.dumps(setosa | {"petal_width": "wide"}))  # refused: the log is not running here
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            answers = await asyncio.gather(*(client.post("/predict", content=body) for _ in range(20)))
        return [answer.status_code for answer in answers]

    monkeypatch.setattr(predictions_routes, "unpacked", slowly_unpacked)
    assert asyncio.run(with_threads(10, call())) == [422] * 20
    assert (most, unpacking) == (predictions_routes.MAX_UNPACKED_BODIES, 0)


@pytest.mark.parametrize(
    "body",
    [b"not gzip", gzip.compress(b"{}" * 1000)[:-9], b"", zlib.compress(b"{}")],
    ids=["text", "cut off", "empty", "zlib"],  # packed bytes hold the time
)
def test_a_body_that_is_not_what_it_says_it_is_packed_with_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/predict", content=body, headers=JSON | {"content-encoding": "gzip"})
    assert (answer.status_code, "gzip" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_another_encoding_gets_415_that_says_what_is_known(client: TestClient, encoding: str) -> None:
    answer = client.post("/predict", content=b"{}", headers=JSON | {"content-encoding": encoding})
    assert answer.status_code == 415
    assert "send it plain, or packed with gzip" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback"])
def test_a_forgotten_content_type_is_named(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b"{}")
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_a_slash_too_many_is_named_and_sends_nobody_elsewhere(settings: Settings, setosa: dict[str, Any]) -> None:
    with TestClient(create_app(settings.model_copy(update={"allowed_hosts": "evil.example"}))) as client:
        answer = client.post("/predict/", json=setosa, headers={"host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "leave out the slash" in answer.json()["detail"]
    assert "evil.example" not in str(answer.headers) + answer.text


def test_the_start_page_brings_its_icon_along(client: TestClient) -> None:
    answer = client.get("/")
    assert '<link rel="icon" href="data:image/svg+xml,' in answer.text
    assert "img-src 'self' data:" in answer.headers["content-security-policy"]


@pytest.fixture(params=["/vigie", "/model"])
def behind(request: pytest.FixtureRequest, settings: Settings) -> tuple[str, FastAPI]:
    """An API that people reach below a path, which may be one of its own."""
    prefix = request.param
    return prefix, create_app(settings.model_copy(update={"public_url": f"https://shop.example{prefix}/"}))


def test_below_a_path_links_have_that_path_and_requests_may(
    behind: tuple[str, FastAPI], setosa: dict[str, Any]
) -> None:
    prefix, app = behind
    with TestClient(app) as client:
        for sent in ("", prefix):
            page = client.get(f"{sent}/docs").text
            assert f"{prefix}/openapi.json" in page
            assert f"{prefix}/static-offline-docs/swagger-ui-bundle.js" in page
            assert client.get(f"{sent}/openapi.json").json()["servers"] == [{"url": prefix}]
            assert client.get(f"{sent}/static-offline-docs/swagger-ui.css").status_code == 200
            assert client.post(f"{sent}/predict", json=setosa).status_code == 200
            assert client.get(f"{sent}/snapshots").status_code == 200
            assert client.head(f"{sent}/").status_code == 200
        assert client.get(f"{prefix}/model").json()["name"] == "iris"
        assert client.get(f"{prefix}x/docs").status_code == 404


def test_keys_are_asked_for_below_a_path_too(settings: Settings, keys: dict[str, str], keys_file: Path) -> None:
    changed = {"public_url": "https://shop.example/vigie", "api_keys_file": keys_file}
    with TestClient(create_app(settings.model_copy(update=changed))) as client:
        for path in ("/snapshots", "/vigie/snapshots"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"x-api-key": keys["read"]}).status_code == 200


def test_a_label_that_is_no_class_names_the_classes(client: TestClient, setosa: dict[str, Any]) -> None:
    key = client.post("/predict", json=setosa).json()["prediction_id"]
    answer = client.post("/feedback", json={"labels": [{"prediction_id": key, "label": 1.0}]})
    assert answer.status_code == 422
    assert "1.0 is none of the classes setosa, versicolor, virginica" in answer.json()["detail"]


def test_a_window_with_too_little_stays_open_unless_it_is_forced(
    client: TestClient, setosa: dict[str, Any], settings: Settings
) -> None:
    client.post("/predict/batch", json={"rows": [setosa] * (settings.snapshot_min_rows - 1)})
    for _ in range(2):
        answer = client.post("/snapshots")
        assert answer.status_code == 409
        assert "not enough yet: 29 of at least 30 rows, 0 of at least 30 labels" in answer.json()["detail"]
        assert "force=true" in answer.json()["detail"]
    assert client.get("/snapshots").json()["windows"] == []
    client.post("/predict", json=setosa)
    assert client.post("/snapshots").status_code == 202
    client.post("/predict", json=setosa)
    assert client.post("/snapshots", params={"force": True}).status_code == 202


@pytest.fixture
def idle(client: TestClient, setosa: dict[str, Any], database_url: str, settings: Settings) -> None:
    """A log with one window that has rows, among 100 without."""
    client.post("/predict", json=setosa)
    database = Database(database_url)
    with database.writing() as connection:
        hours_ago = database.now(connection) - 5 * 3_600_000_000
        connection.execute(update(predictions).values(logged_at=hours_ago))
    WindowStore(database).close_elapsed(settings.snapshot_interval)
    database.dispose()


@pytest.mark.usefixtures("idle")
def test_idle_windows_hide_no_other(client: TestClient) -> None:
    (window,) = client.get("/snapshots", params={"status": "due"}).json()["windows"]
    skipped = client.get("/snapshots", params={"status": "skipped", "limit": 1000}).json()["windows"]
    assert {one["status"] for one in skipped} == {"skipped"}
    assert len(skipped) > 50
    page = client.get("/").text
    assert page.count("<tr><td>") == 2
    assert f"{len(skipped):,} windows with too little data in a row" in page
    assert window["start"][11:19] in page
    assert client.get("/snapshots", params={"status": "lost"}).status_code == 422


def test_every_route_counts_from_zero(client: TestClient) -> None:
    text = client.get("/metrics").text
    for method, handler in [("POST", "/predict"), ("POST", "/predict/batch"), ("GET", "/snapshots"), ("GET", "/")]:
        for status in ("2xx", "4xx", "5xx"):
            assert f'http_requests_total{{handler="{handler}",method="{method}",status="{status}"}} 0.0' in text


@pytest.mark.parametrize("shared", [False, True])
def test_the_start_page_says_that_a_project_is_shared(settings: Settings, shared: bool) -> None:
    app = create_app(settings.model_copy(update={"evidently_share_project": shared}))
    with TestClient(app) as client:
        assert ("windows of other prediction logs" in client.get("/").text) == shared
