"""Secrets that are planted in every setting that can hold one come out nowhere."""

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.settings import SECRETS, Settings
from scripts.keys import create_key

PLANTED = {
    "database_url": "planted-password",
    "evidently_secret": "planted-evidently",
    "notify_urls": "planted-address",
}


@pytest.fixture
def planted(tmp_path: Path, iris_artifact: Path) -> Settings:
    """Settings whose database does not answer, so that every error about it is provoked."""
    return Settings(
        model_dir=iris_artifact,
        database_url=SecretStr("postgresql://vigie:planted-password@127.0.0.1:1/vigie?connect_timeout=2"),
        evidently_secret=SecretStr("planted-evidently"),
        notify_urls=SecretStr("json://vigie:planted-address@127.0.0.1:1/planted-address"),
        api_keys_file=tmp_path / "keys.jsonl",
        reports_dir=tmp_path / "reports",
        snapshots=False,
        log_timeout_seconds=0.2,
        allowed_hosts="testserver",
    )


@pytest.fixture
def key(planted: Settings) -> str:
    assert planted.api_keys_file is not None
    return create_key(planted.api_keys_file, "all", ["predict", "feedback", "read", "metrics", "admin"])


@pytest.fixture
def client(planted: Settings, key: str) -> TestClient:
    # without its lifespan, which would wait for the database
    return TestClient(create_app(planted), raise_server_exceptions=False, headers={"X-API-Key": key})


def test_no_answer_and_no_line_of_the_log_holds_a_secret(
    client: TestClient, planted: Settings, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert planted.api_keys_file is not None
    digest = planted.api_keys_file.read_text().split('"sha256": "')[1][:64]
    secrets = [key, digest, *PLANTED.values()]
    with caplog.at_level(logging.DEBUG):
        answers = [
            client.request(method, path)
            for method in ("GET", "POST")
            for path in (
                "/",
                "/docs",
                "/openapi.json",
                "/model",
                "/metrics",
                "/snapshots",
                "/snapshots/metrics",
                "/health/ready",
                "/predict",
                "/predict/batch",
                "/feedback",
                "/nowhere",
            )
        ]
        answers.append(client.get("/model", headers={"X-API-Key": f"{key}x"}))
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 405, 422, 503}
    for answer in answers:
        for secret in secrets:
            assert secret not in answer.text + str(answer.headers), answer.request.url
    text = "\n".join([*(record.getMessage() for record in caplog.records), *(map(str, caplog.records)), caplog.text])
    for secret in secrets:
        assert secret not in text


def test_settings_and_their_errors_hide_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(PLANTED) == set(SECRETS), "plant a secret in the new setting too"
    for name, value in PLANTED.items():
        monkeypatch.setenv(f"VIGIE_{name.upper()}", value)
    monkeypatch.setenv("VIGIE_API_KEYS", '{"sha256": "planted-hash"}')
    assert "planted" not in repr(Settings()) + Settings().model_dump_json()
    monkeypatch.setenv("VIGIE_PORT", "none")
    with pytest.raises(ValueError, match="port") as raised:
        Settings()
    assert "planted" not in str(raised.value)
