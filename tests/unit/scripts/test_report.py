import pytest

from scripts.report import main


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [("2026-11-23", "2026-11-22", "--from must be before --to"), ("yesterday", "2026-11-22", "no time such as")],
)
def test_a_wrong_stretch_is_told_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], start: str, end: str, said: str
) -> None:
    try:
        status = main(["--from", start, "--to", end])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert said in capsys.readouterr().err
