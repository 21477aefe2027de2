import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from api.security.keys import parse_keys
from scripts.keys import create_key, main, read_keys

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.jsonl"


def run(file: Path, *arguments: str) -> int:
    return main(["--file", str(file), *arguments])


def test_a_key_is_printed_once_and_only_its_hash_is_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "create", "shop", "--scope", "predict", "--scope", "feedback") == 0
    key = capsys.readouterr().out.strip()
    (record,) = parse_keys(file.read_text())
    assert key not in file.read_text()
    assert record.sha256 == sha256(key.encode()).hexdigest()
    assert (record.name, record.scopes, record.expires) == ("shop", {"predict", "feedback"}, None)


def test_the_file_is_its_owners_alone(file: Path) -> None:
    create_key(file, "shop", ["predict"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_end_and_a_limit_are_kept(file: Path) -> None:
    assert run(file, "create", "shop", "--scope", "predict", "--expires-in-days", "30", "--rows-per-second", "5") == 0
    (record,) = read_keys(file)
    assert record.expires is not None
    assert 29 < (record.expires - datetime.now(UTC)).total_seconds() / 86_400 <= 30
    assert record.rows_per_second == 5


def test_a_revoked_key_is_gone_and_the_others_stay(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_key(file, "shop", ["predict"])
    create_key(file, "clerk", ["read"])
    assert run(file, "revoke", "shop") == 0
    assert run(file, "list") == 0
    shown = capsys.readouterr().out
    assert "clerk" in shown
    assert "shop" not in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "shop", "--scope", "predict"), "already has a key named shop"),
        (("create", "Shop!", "--scope", "predict"), "name:"),
        (("revoke", "nobody"), "no key named nobody"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    create_key(file, "shop", ["predict"])
    before = file.read_text()
    assert run(file, *arguments) == 1
    assert says in capsys.readouterr().err
    assert file.read_text() == before


def test_a_broken_file_is_never_overwritten(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir()
    file.write_text("not a key")
    assert run(file, "create", "shop", "--scope", "predict") == 1
    assert "line 1" in capsys.readouterr().err
    assert file.read_text() == "not a key"


def test_keys_made_at_the_same_time_are_all_there(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda number: create_key(file, f"caller-{number}", ["predict"]), range(24)))
    assert {record.sha256 for record in read_keys(file)} == {sha256(key.encode()).hexdigest() for key in keys}


def test_keys_can_be_made_where_nothing_is_installed(file: Path) -> None:
    command = [sys.executable, "-S", "-m", "scripts.keys", "--file", str(file), "create", "first", "--scope", "predict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("vigie_")


LINE = {
    "name": "shop",
    "sha256": "0" * 64,
    "scopes": ["predict"],
    "created": "2026-11-23T08:00:00+00:00",
}
"""The fields of a valid line."""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 7}, "name"),
        ({"name": "a b"}, "name"),
        ({"sha256": "vigie_plain"}, "sha256"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes"),
        ({"scopes": "predict"}, "scopes"),
        ({"created": "yesterday"}, "created"),
        ({"created": "2026-11-23T08:00:00"}, "created"),
        ({"expires": 5}, "expires"),
        ({"rows_per_second": 0}, "rows_per_second"),
        ({"rows_per_second": True}, "rows_per_second"),
        ({"key": "vigie_plain"}, "unknown"),
    ],
)
def test_a_wrong_line_is_named_and_never_quoted(file: Path, change: dict[str, object], says: str) -> None:
    file.parent.mkdir()
    file.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(LINE | {'name': 'other'} | change)}\n")
    with pytest.raises(Exception, match=rf"line 3: .*{says}") as raised:
        read_keys(file)
    assert "vigie_plain" not in str(raised.value)


def test_two_keys_of_one_name_are_refused(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE)}\n")
    with pytest.raises(Exception, match="line 2: another key has the name shop already"):
        read_keys(file)


def test_a_valid_line_reads_back_as_it_was_written() -> None:
    (key,) = parse_keys(json.dumps(LINE | {"expires": "2027-01-01T00:00:00+00:00", "rows_per_second": 2.5}))
    assert parse_keys(key.line()) == (key,)


def test_a_key_for_a_model_that_is_not_there_is_made_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models" / "shop").mkdir(parents=True)
    monkeypatch.setenv("VIGIE_MODELS_DIR", str(tmp_path / "models"))
    create = ["--file", str(tmp_path / "keys.jsonl"), "create"]
    assert main([*create, "one", "--scope", "predict", "--model", "shop"]) == 0
    assert "note" not in capsys.readouterr().err
    assert main([*create, "two", "--scope", "predict", "--model", "Shop"]) == 0
    assert f"note: {tmp_path}/models has no model Shop" in capsys.readouterr().err
