"""The pictures that are chosen, and the message where there is nothing to show."""

from typing import Any

import pytest

from scripts.ports import free_port
from scripts.screenshots import NoPicturesError, main, pictures_of

UI = "http://127.0.0.1:8001/projects/p/reports"


def window(number: int, failed: int, *, posted: bool = True) -> dict[str, Any]:
    return {
        "evidently_url": f"{UI}/{number}" if posted else None,
        "report_url": f"http://127.0.0.1:8000/reports/{number}.html" if posted else None,
        "failed_checks": [{"check": "data_drift"}] * failed,
    }


def test_the_window_with_the_most_failed_checks_is_shown_of_equals_the_newest() -> None:
    windows = [window(5, 0, posted=False), window(4, 1), window(3, 2), window(2, 2), window(1, 0)]
    shown = {picture.file: picture.url for picture in pictures_of("http://127.0.0.1:8000", windows)}
    assert shown["evidently-snapshot.png"] == f"{UI}/3"
    assert shown["report.png"].endswith("/reports/3.html")
    assert shown["evidently-dashboard.png"] == "http://127.0.0.1:8001/projects/p"


def test_nothing_is_taken_while_no_window_is_posted() -> None:
    with pytest.raises(NoPicturesError, match="no window is posted yet"):
        pictures_of("http://127.0.0.1:8000", [window(1, 3, posted=False)])


def test_without_an_api_it_says_what_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.screenshots._chromium", lambda: "chromium")
    assert main(["--url", f"http://127.0.0.1:{free_port()}"]) == 2
    assert "make run or make demo" in capsys.readouterr().err
