"""How reports lie in their folder, with the script that they share, and which files there are stale."""

import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.snapshots.reports import (
    SCRIPT_END,
    SCRIPT_START,
    TAIL_BYTES,
    read_report,
    report_name,
    stale_files,
    stale_scripts,
    write_report,
    write_window_report,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def report(folder: Path, start: datetime) -> Path:
    path = folder / report_name(start, start + timedelta(minutes=5))
    write_report(path, "<p>")
    return path


def test_reports_of_days_before_the_limit_are_stale(tmp_path: Path) -> None:
    old, young = report(tmp_path, NOW - timedelta(days=8)), report(tmp_path, NOW - timedelta(days=7))
    assert list(stale_files(tmp_path, NOW - timedelta(days=7), NOW)) == [old]
    assert young.is_file()


def test_what_a_write_that_was_cut_off_has_left_is_stale_after_a_day(tmp_path: Path) -> None:
    day = report(tmp_path, NOW).parent
    left, fresh = day / ".left.tmp", day / ".fresh.tmp"
    for path, age in ((left, 25), (fresh, 1)):
        path.write_text("<")
        written = (NOW - timedelta(hours=age)).timestamp()
        os.utime(path, (written, written))
    assert list(stale_files(tmp_path, NOW - timedelta(days=7), NOW)) == [left]


def test_other_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("by-hand", "2020-99-99", "assets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old.html").write_text("<p>")
    (tmp_path / "2020-01-01").write_text("a file")
    assert list(stale_files(tmp_path, NOW, NOW)) == []
    assert list(stale_files(tmp_path / "missing", NOW, NOW)) == []


def page_with(script: str) -> str:
    return f"<p>{'charts' * TAIL_BYTES}</p>{SCRIPT_START}{script}{SCRIPT_END}data)</script>\n"


def window_report(folder: Path, start: datetime, script: str) -> Path:
    name = report_name(start, start + timedelta(minutes=5))
    write_window_report(folder, name, page_with(script))
    return folder / name


def scripts_in(folder: Path) -> dict[str, Path]:
    return {path.read_text(): path for path in (folder / "assets").iterdir()}


def grow_old(path: Path, age: timedelta, now: datetime) -> None:
    os.utime(path, ((now - age).timestamp(),) * 2)


def test_reports_share_their_script_and_each_is_read_whole(tmp_path: Path) -> None:
    reports = [window_report(tmp_path, NOW + timedelta(minutes=5 * place), "draw('ä')") for place in range(3)]
    (script,) = scripts_in(tmp_path).values()
    for path in reports:
        page = path.read_text()
        assert "draw(" not in page
        assert f'<script src="../assets/{script.name}"></script>' in page
        assert (path.parent / "../assets" / script.name).read_text() == "draw('ä')"
        assert read_report(path) == page_with("draw('ä')").encode()


def test_a_script_that_is_there_is_written_anew_only_where_it_is_damaged_or_aged(tmp_path: Path) -> None:
    window_report(tmp_path, NOW, "draw()")
    path = scripts_in(tmp_path)["draw()"]
    written = path.stat().st_ino
    window_report(tmp_path, NOW, "draw()")
    assert path.stat().st_ino == written
    path.write_text("dr")
    window_report(tmp_path, NOW, "draw()")
    assert path.read_text() == "draw()"
    now = datetime.now(UTC)
    grow_old(path, timedelta(hours=13), now)
    window_report(tmp_path, NOW, "draw()")
    assert now - datetime.fromtimestamp(path.stat().st_mtime, tz=UTC) < timedelta(hours=1)


def test_a_page_of_another_form_is_stored_whole_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for html in ("<p>", SCRIPT_END + SCRIPT_START, page_with(""), page_with("a</SCRIPT>b"), page_with("a") * 2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            write_window_report(tmp_path, "2026-11-23/one.html", html)
        assert "report 2026-11-23/one.html is stored whole" in caplog.text
        assert read_report(tmp_path / "2026-11-23" / "one.html") == html.encode()
    assert not (tmp_path / "assets").exists()


def test_a_script_goes_once_no_report_needs_it_and_never_the_newest(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert list(stale_scripts(tmp_path, now)) == []
    first = window_report(tmp_path, NOW - timedelta(days=3), "draw(1)")
    second = window_report(tmp_path, NOW - timedelta(days=2), "draw(2)")
    window_report(tmp_path, NOW, "draw(3)").unlink()
    scripts = scripts_in(tmp_path)
    for place, days in enumerate((9, 8, 7), start=1):
        grow_old(scripts[f"draw({place})"], timedelta(days=days), now)
    assert list(stale_scripts(tmp_path, now)) == []
    assert list(stale_scripts(tmp_path, now, {second})) == [scripts["draw(2)"]]
    first.unlink()
    assert list(stale_scripts(tmp_path, now)) == [scripts["draw(1)"]]
    assert read_report(second) == page_with("draw(2)").encode()


def test_a_script_that_a_report_under_way_may_need_stays_for_a_day(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for version in (1, 2):
        window_report(tmp_path, NOW, f"draw({version})").unlink()
    scripts = scripts_in(tmp_path)
    grow_old(scripts["draw(1)"], timedelta(hours=23), now)
    assert list(stale_scripts(tmp_path, now)) == []
    grow_old(scripts["draw(1)"], timedelta(hours=25), now)
    left = tmp_path / "assets" / ".left.tmp"
    left.write_text("dr")
    assert list(stale_scripts(tmp_path, now)) == [scripts["draw(1)"]]
    grow_old(left, timedelta(hours=25), now)
    assert list(stale_scripts(tmp_path, now)) == [left, scripts["draw(1)"]]
