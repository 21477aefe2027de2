import stat
from pathlib import Path

import pytest

from api.security.keys import digest_of
from scripts.addresses import addresses, read_env
from scripts.keys import create_key, read_keys
from scripts.secrets import KEYS, RECEIVERS, ROTATABLE, main, make_secrets, owner, update_env


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


@pytest.mark.parametrize("name", ROTATABLE)
def test_a_rotated_secret_and_what_follows_from_it_are_new_and_the_rest_is_kept(name: str, tmp_path: Path) -> None:
    main(["--folder", str(tmp_path)])
    before = files(tmp_path)
    assert main(["--folder", str(tmp_path), "--rotate", name]) == 0
    after = files(tmp_path)
    changed = {f"secrets/{name}", ".env"}
    if name in KEYS:
        changed.add("secrets/api/keys.jsonl")
    if name.startswith("postgres_"):
        changed.add(f"secrets/{name.replace('password', 'url')}")
        assert after[f"secrets/{name}"] in after[f"secrets/{name.replace('password', 'url')}"]
    assert {file for file in after if before.get(file) != after[file]} == changed
    assert set(after) == set(before)
    assert len(after[f"secrets/{name}"]) >= 32
    assert stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) == 0o600
    assert [key.name for key in read_keys(tmp_path / "secrets/api/keys.jsonl")].count(name.removesuffix("_key")) <= 1


def test_only_what_is_known_is_rotated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("webhook_url", "../escape", ""):
        with pytest.raises(SystemExit):
            main(["--folder", str(tmp_path), "--rotate", name])
        assert "page_password" in capsys.readouterr().err
    assert files(tmp_path) == {}


def digests(folder: Path) -> dict[str, str]:
    return {name: value for name, value in read_env(folder / ".env").items() if name.startswith("VIGIE_DIGEST_")}


def test_a_secret_changed_by_hand_has_another_digest_and_the_user_s_lines_stay(tmp_path: Path) -> None:
    main(["--folder", str(tmp_path)])
    env = tmp_path / ".env"
    env.write_text("# mine\nVIGIE_SITE=vigie.example\n" + env.read_text() + "COMPOSE_PROFILES=demo\n")
    before = digests(tmp_path)
    (tmp_path / "secrets/page_password").write_text("by hand")
    update_env(tmp_path)
    after = digests(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"VIGIE_DIGEST_PAGE_PASSWORD"}
    assert env.read_text().startswith("# mine\nVIGIE_SITE=vigie.example\n")
    assert read_env(env)["COMPOSE_PROFILES"] == "demo"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".new")] == []


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receiver_s_file_is_closed_to_others_and_known_by_its_digest(name: str, tmp_path: Path) -> None:
    main(["--folder", str(tmp_path)])
    assert not (tmp_path / "secrets/alertmanager" / name).exists(), "it is off until someone writes it"
    file = tmp_path / "secrets/alertmanager" / name
    file.write_text("https://chat.example/hook")
    file.chmod(0o644)
    main(["--folder", str(tmp_path)])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (file.stat().st_uid, file.stat().st_gid) == owner()
    first = digests(tmp_path)[f"VIGIE_DIGEST_{name.upper()}"]
    file.write_text("https://chat.example/other")
    main(["--folder", str(tmp_path)])
    assert digests(tmp_path)[f"VIGIE_DIGEST_{name.upper()}"] != first
    file.unlink()
    main(["--folder", str(tmp_path)])
    assert f"VIGIE_DIGEST_{name.upper()}" not in digests(tmp_path)


def test_a_receiver_s_file_that_is_a_link_leads_nowhere_else(tmp_path: Path) -> None:
    main(["--folder", str(tmp_path)])
    other = tmp_path / "other"
    other.write_text("of someone else")
    other.chmod(0o644)
    (tmp_path / "secrets/alertmanager/slack_url").symlink_to(other)
    main(["--folder", str(tmp_path)])
    assert stat.S_IMODE(other.stat().st_mode) == 0o644


def test_a_digest_does_not_tell_whether_a_guess_is_right(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        main(["--folder", str(tmp_path / name)])
        (tmp_path / name / "secrets/page_password").write_text("the same")
        update_env(tmp_path / name)
    first, second = (digests(tmp_path / name)["VIGIE_DIGEST_PAGE_PASSWORD"] for name in ("first", "second"))
    assert first != second


def test_a_chosen_group_of_the_engine_s_socket_is_kept(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    (tmp_path / ".env").write_text("VIGIE_DOCKER_GID=4711\n")
    update_env(tmp_path)
    assert (tmp_path / ".env").read_text().count("VIGIE_DOCKER_GID=") == 1
    assert read_env(tmp_path / ".env")["VIGIE_DOCKER_GID"] == "4711"


def test_addresses_with_one_superuser_for_both_databases_become_those_of_two_roles(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    kept = tmp_path / "secrets"
    for holds, database in (("log", "vigie"), ("workspace", "evidently")):
        (kept / f"postgres_{holds}_password").unlink()
        (kept / f"postgres_{holds}_url").write_text(f"postgresql://vigie:hidden@postgres/{database}")
    made = make_secrets(tmp_path)
    assert {
        f"secrets/postgres_{holds}_{what}" for holds in ("log", "workspace") for what in ("password", "url")
    } == set(made)
    for holds, database in (("log", "vigie"), ("workspace", "evidently")):
        password = (kept / f"postgres_{holds}_password").read_text()
        assert (kept / f"postgres_{holds}_url").read_text() == (
            f"postgresql://vigie_{holds}:{password}@postgres/{database}"
        )


def test_an_address_of_the_user_s_own_is_kept(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    own = "postgresql://me:hidden@db.example/log?sslmode=require"
    (tmp_path / "secrets/postgres_log_url").write_text(own)
    assert make_secrets(tmp_path) == []
    assert (tmp_path / "secrets/postgres_log_url").read_text() == own


def test_a_password_that_an_address_cannot_hold_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_secrets(tmp_path)
    (tmp_path / "secrets/postgres_log_password").write_text("p@ss/word")
    assert main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "postgres_log_password" in said
    assert "p@ss" not in said


def test_addresses_follow_the_ports_of_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\n\nVIGIE_API_PORT=9000\n")
    shown = addresses(read_env(tmp_path / ".env"))
    assert shown["predictions by hand (Swagger UI)"] == "http://127.0.0.1:9000/docs"
    assert shown["model health (Evidently UI)"] == "http://127.0.0.1:8001/"


def test_addresses_of_a_public_site_are_those_of_its_front() -> None:
    shown = addresses({"VIGIE_SITE": "vigie.example", "VIGIE_GRAFANA_PORT": "3001"})
    assert shown["start page"] == "https://vigie.example:443/"
    assert shown["API, containers and host (Grafana)"] == "https://vigie.example:3001/"
