import stat
from pathlib import Path

import pytest

from api.security.keys import digest_of
from scripts.addresses import addresses, read_env
from scripts.keys import create_key, read_keys
from scripts.secrets import KEYS, main, make_secrets, owner


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_random_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        make_secrets(folder)
    for path in (first / "secrets").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert (path.stat().st_uid, path.stat().st_gid) == owner()
    for name in ("evidently_secret", "grafana_admin_password", "postgres_password", "page_password", "api_key"):
        assert files(first)[f"secrets/{name}"] != files(second)[f"secrets/{name}"]
        assert len(files(first)[f"secrets/{name}"]) >= 32


def test_making_them_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path)]) == 0
    before = files(tmp_path)
    assert main(["--folder", str(tmp_path)]) == 0
    assert files(tmp_path) == before
    assert "all secrets exist already" in capsys.readouterr().out


def test_one_that_is_missing_is_made_and_the_others_kept(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = files(tmp_path)
    (tmp_path / "secrets" / "evidently_secret").unlink()
    assert make_secrets(tmp_path) == ["secrets/evidently_secret"]
    assert {name for name, content in files(tmp_path).items() if before[name] != content} == {
        "secrets/evidently_secret"
    }


def test_keys_stand_in_files_of_their_own_and_the_api_sees_only_hashes(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    kept = tmp_path / "secrets"
    scopes = {key.sha256: key.scopes for key in read_keys(kept / "api" / "keys.jsonl")}
    assert scopes == {digest_of((kept / name).read_bytes()): set(allowed) for name, allowed in KEYS.items()}


def test_a_key_whose_file_was_removed_is_replaced_and_no_longer_valid(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    kept = tmp_path / "secrets"
    old = digest_of((kept / "api_key").read_bytes())
    (kept / "api_key").unlink()
    assert make_secrets(tmp_path) == ["secrets/api_key"]
    hashes = {key.sha256 for key in read_keys(kept / "api" / "keys.jsonl")}
    assert len(hashes) == len(KEYS)
    assert old not in hashes


def test_keys_made_by_hand_are_kept(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    create_key(tmp_path / "secrets" / "api" / "keys.jsonl", "shop", ["predict"])
    (tmp_path / "secrets" / "front_key").unlink()
    make_secrets(tmp_path)
    assert {key.name for key in read_keys(tmp_path / "secrets" / "api" / "keys.jsonl")} == {"shop", "api", "front"}


def test_a_broken_key_file_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secrets" / "api").mkdir(parents=True)
    (tmp_path / "secrets" / "api" / "keys.jsonl").write_text("half a li")
    assert main(["--folder", str(tmp_path)]) == 1
    assert "keys.jsonl" in capsys.readouterr().err


def test_half_of_a_password_is_an_error_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_secrets(tmp_path)
    (tmp_path / "secrets" / "postgres_log_url").unlink()
    assert main(["--folder", str(tmp_path)]) == 1
    assert "remove" in capsys.readouterr().err


def test_addresses_follow_the_ports_of_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\n\nVIGIE_API_PORT=9000\n")
    shown = addresses(read_env(tmp_path / ".env"))
    assert shown["predictions by hand (Swagger UI)"] == "http://127.0.0.1:9000/docs"
    assert shown["model health (Evidently UI)"] == "http://127.0.0.1:8001/"


def test_addresses_of_a_public_site_are_those_of_its_front() -> None:
    shown = addresses({"VIGIE_SITE": "vigie.example", "VIGIE_GRAFANA_PORT": "3001"})
    assert shown["start page"] == "https://vigie.example:443/"
    assert shown["API, containers and host (Grafana)"] == "https://vigie.example:3001/"
