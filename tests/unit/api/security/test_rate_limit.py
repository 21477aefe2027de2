from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.security.keys import ApiKey
from api.security.rate_limit import BURST_SECONDS, Bucket, RateLimits
from api.settings import Settings
from scripts.keys import create_key
from tests.unit.api.conftest import Clock


def key(name: str, rows_per_second: float | None = None) -> ApiKey:
    digest = (name.encode().hex() * 64)[:64]
    return ApiKey(name, digest, frozenset({"predict"}), datetime.now(UTC), rows_per_second=rows_per_second)


def test_a_bucket_lets_its_rate_through_in_the_long_run(clock: Clock) -> None:
    bucket = Bucket(5.0, clock)
    passed = 0
    for _ in range(1000):  # 100 s in steps of 0.1 s
        passed += bucket.wait_seconds() == 0
        clock.now += 0.1
    assert passed == pytest.approx(5.0 * (100 + BURST_SECONDS), abs=2)


def test_a_batch_larger_than_the_bucket_passes_and_is_paid_for(clock: Clock) -> None:
    bucket = Bucket(10.0, clock)
    assert bucket.wait_seconds() == 0
    bucket.charge(1000)
    wait = bucket.wait_seconds()
    assert wait == pytest.approx((1000 - 10.0 * BURST_SECONDS + 1) / 10.0)
    clock.now += wait + 1e-6
    assert bucket.wait_seconds() == 0
    assert bucket.wait_seconds() > 0


def test_a_quiet_caller_saves_up_no_more_than_the_burst(clock: Clock) -> None:
    bucket = Bucket(2.0, clock)
    clock.now += 1e6
    passed = 0
    while bucket.wait_seconds() == 0:
        passed += 1
    assert passed == 2.0 * BURST_SECONDS


def test_a_rate_below_one_row_in_the_burst_time_still_lets_rows_through(clock: Clock) -> None:
    bucket = Bucket(0.01, clock)
    assert bucket.wait_seconds() == 0
    assert bucket.wait_seconds() == pytest.approx(100)


def test_each_key_has_its_own_bucket_and_maybe_its_own_rate(clock: Clock) -> None:
    limits = RateLimits(0.1, clock)
    assert limits.wait_seconds(key("one")) == 0
    assert limits.wait_seconds(key("one")) > 0
    assert limits.wait_seconds(key("two")) == 0
    assert all(limits.wait_seconds(key("three", 100.0)) == 0 for _ in range(100))


def test_without_a_limit_nobody_waits(clock: Clock) -> None:
    limits = RateLimits(None, clock)
    assert all(limits.wait_seconds(key("one")) == 0 for _ in range(10_000))


@pytest.fixture
def limited(settings: Settings, keys_file: Path) -> Iterator[TestClient]:
    """A key that may send one row a second, which allows ten at once."""
    presented = create_key(keys_file, "shop", ["predict", "feedback"], rows_per_second=1.0)
    app = create_app(settings.model_copy(update={"api_keys_file": keys_file}))
    with TestClient(app, headers={"X-API-Key": presented}) as client:
        yield client


def test_too_many_requests_get_429_and_when_to_come_back(limited: TestClient, setosa: dict[str, Any]) -> None:
    answers = [limited.post("/predict", json=setosa) for _ in range(60)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 20
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert 'reason="rate_limited"' in limited.get("/metrics").text


@pytest.mark.parametrize("path", ["/predict/batch", "/feedback"])
def test_the_rows_of_a_batch_count(limited: TestClient, setosa: dict[str, Any], path: str) -> None:
    label = {"prediction_id": "nobody", "label": "setosa"}
    body = {"rows": [setosa] * 100} if path == "/predict/batch" else {"labels": [label] * 100}
    assert limited.post(path, json=body).status_code == 200
    answer = limited.post(path, json=body)
    assert answer.status_code == 429
    assert 60 < int(answer.headers["retry-after"]) <= 91


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback"])
def test_a_refused_body_counts_by_its_size(limited: TestClient, path: str) -> None:
    assert limited.post(path, json={"rows": [{}] * 2500}).status_code == 422  # 10,000 bytes
    answer = limited.post(path, json={})
    assert answer.status_code == 429
    assert 60 < int(answer.headers["retry-after"]) <= 100
