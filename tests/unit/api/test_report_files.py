"""Which files in the folder of reports are stale."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.snapshots.report_files import report_name, stale_files, write_report

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
