from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_SNAPSHOT_INTERVAL_SECONDS", "60")
    assert Settings().snapshot_interval.total_seconds() == 60


def test_a_secret_comes_from_its_file_without_the_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden\n")
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET_FILE", str(file))
    secret = Settings().evidently_secret
    assert secret is not None
    assert secret.get_secret_value() == "hidden"


def test_a_secret_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET_FILE", "/nowhere/secret")
    with pytest.raises(ValidationError, match="/nowhere/secret"):
        Settings()


def test_a_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET", "hidden")
    with pytest.raises(ValidationError, match="not both"):
        Settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_EVIDENTLY_SECRET", "hidden")
    monkeypatch.setenv("VIGIE_DATABASE_URL", "postgresql://vigie:hidden@db/vigie")
    assert "hidden" not in repr(Settings())


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_quorum_that_can_never_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_ALERT_WINDOWS_FAILED", "4")
    with pytest.raises(ValidationError, match="cannot be more than VIGIE_ALERT_WINDOWS"):
        Settings()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": 80}, "http://[::1]:80"),
        ({"public_url": "https://vigie.example"}, "https://vigie.example"),
    ],
)
def test_people_reach_the_api_at_its_public_address_or_its_own(given: dict[str, str | int], url: str) -> None:
    assert Settings.model_validate(given).api_url == url
