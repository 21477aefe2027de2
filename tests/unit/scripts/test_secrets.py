import stat
from pathlib import Path

import pytest

from scripts.addresses import addresses, read_env
from scripts.secrets import main, make_secrets, owner


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
    for name in ("evidently_secret", "grafana_admin_password", "postgres_password"):
        assert files(first)[f"secrets/{name}"] != files(second)[f"secrets/{name}"]
        assert len(files(first)[f"secrets/{name}"]) >= 32


def test_making_them_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path)]) == 0
    before = files(tmp_path)
    assert main(["--folder", str(tmp_path)]) == 0
    assert files(tmp_path) == before
    assert "there already" in capsys.readouterr().out


def test_one_that_is_missing_is_made_and_the_others_kept(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = files(tmp_path)
    (tmp_path / "secrets" / "evidently_secret").unlink()
    assert make_secrets(tmp_path) == ["secrets/evidently_secret"]
    assert {name for name, content in files(tmp_path).items() if before[name] != content} == {
        "secrets/evidently_secret"
    }


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
