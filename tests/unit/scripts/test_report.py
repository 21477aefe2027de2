import pytest

from scripts.report import main


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [("2026-11-23", "2026-11-22", "--from must be before --to"), ("yesterday", "2026-11-22", "is not a time such as")],
)
def test_a_wrong_period_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], start: str, end: str, message: str
) -> None:
    try:
        status = main(["--from", start, "--to", end])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert message in capsys.readouterr().err
