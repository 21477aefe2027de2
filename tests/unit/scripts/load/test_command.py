from pathlib import Path

import pytest

from scripts.load.__main__ import parse, plan_of, read_key
from scripts.load.errors import BadKeyError


def test_a_plan_follows_the_arguments() -> None:
    plan = plan_of(parse(["--scenario", "data_drift", "--rate", "50", "--duration", "4", "--label-delay", "2.5"]))
    assert (plan.scenario, plan.rate, plan.duration_seconds, plan.label_delay_seconds) == ("data_drift", 50, 4, 2.5)
    assert plan.requests == 200


def test_the_shortest_plan_has_one_request() -> None:
    assert plan_of(parse(["--rate", "0.1", "--duration", "1"])).requests == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "chaos"], "invalid choice: 'chaos'"),
        (["--rate", "0"], "--rate: 0 is not a number above zero"),
        (["--rate", "fast"], "--rate: 'fast' is not a number above zero"),
        (["--duration", "inf"], "--duration: inf is not a number above zero"),
        (["--seed", "-1"], "--seed: -1 is not a whole number from 0"),
        (["--label-share", "1.5"], "--label-share: 1.5 is not a share from 0 to 1"),
        (["--label-delay", "nan"], "--label-delay: nan is not a number from zero"),
        (["--batch", "10001"], "--batch: 10001 is not a whole number from 1 to 10000"),
        (["--concurrency", "0"], "--concurrency: 0 is not a whole number from 1 to 2000"),
    ],
)
def test_an_impossible_argument_is_named_and_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_key_comes_from_its_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIGIE_API_KEY", raising=False)
    assert read_key(None) is None
    monkeypatch.setenv("VIGIE_API_KEY", "vigie_environment")
    (tmp_path / "key").write_text("vigie_file\n")
    assert read_key(None) == "vigie_environment"
    assert read_key(tmp_path / "key") == "vigie_file"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"two keys", b'{"name": "shop"}', b"a\nb"])
def test_what_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadKeyError, match=str(tmp_path)) as raised:
        read_key(tmp_path / "file")
    assert "shop" not in str(raised.value)
