import re

import pytest

from scripts.bench.__main__ import main


def test_the_window_is_read_whole_and_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reading", "--rows", "2000", "--features", "3", "--cap", "500"]) == 0
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [line[0] for line in table] == ["| whole", "| sampled, cap 500"]
    assert int(table[0][1].replace(",", "")) == 2000
    assert 350 < int(table[1][1]) < 650  # a random sample of about 500
    assert all(re.fullmatch(r"\d+ MiB \|", line[4]) for line in table)
