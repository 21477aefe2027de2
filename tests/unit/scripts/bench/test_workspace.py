from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.bench.__main__ import main
from scripts.bench.workspace.command import SPANS, panel_table, summary_table
from scripts.bench.workspace.history import Bodies, kept, past
from scripts.bench.workspace.measuring import WorkspaceMeasurement

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_a_past_ends_now_and_has_a_window_for_every_five_minutes():
    windows = past(timedelta(days=1), NOW)
    assert len(windows) == 288
    assert windows[-1].end == NOW
    assert windows[0].window.start == NOW - timedelta(days=1)


def test_a_year_keeps_its_first_and_last_window_and_those_of_the_last_day():
    windows = past(timedelta(days=365), NOW)
    left = kept(windows, NOW)
    assert (left[0], left[-288:]) == (windows[0], windows[-288:])
    assert 1_000 < len(left) < 1_300


def test_a_copy_of_a_measured_snapshot_has_the_times_and_the_key_of_its_window():
    body = {"timestamp": "x", "name": "x", "metadata": {"window": "x", "model": "iris"}}
    bodies = Bodies(passed=[body], failed=[body | {"tags": ["failed"]}])
    passed, failed = past(timedelta(days=1), NOW)[-1], past(timedelta(days=1), NOW)[0]
    assert bodies.of(passed) == (
        b'{"timestamp": "2026-11-23T08:00:00", "name": "2026-11-23 07:55 to 08:00 UTC", '
        b'"metadata": {"window": "2026-11-23T07:55:00Z/2026-11-23T08:00:00Z", "model": "iris"}}'
    )
    assert b"failed" in bodies.of(failed)
    assert body["timestamp"] == "x"


def test_the_tables_have_a_line_for_each_workspace_and_each_panel():
    panels = {"Log loss": 0.012, "ROC AUC": 0.02}
    one = WorkspaceMeasurement("1 day", 288, 100, 0.02, 12_000_000, 5.0, (2.5, 1.5, 2.0), panels, 300_000_000)
    assert summary_table([one]).splitlines()[-1] == "| 1 day | 288 | 12 | 5.0 | 2.5 | 2.0 | 0.0 | 20 | 300 | 20 | 100 |"
    assert panel_table([one]).splitlines()[-2:] == ["| Log loss | 12 |", "| ROC AUC | 20 |"]


def test_without_a_browser_the_bench_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert main(["workspace"]) == 2
    assert "apt-get install chromium" in capsys.readouterr().err


def test_a_folder_that_has_something_in_it_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    (tmp_path / "mine").touch()
    assert main(["workspace", "--keep", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--spans", "decade"], ["--plain-snapshots", "-1"], ["--measured", "0"]])
def test_options_that_make_no_sense_are_refused(arguments):
    with pytest.raises(SystemExit):
        main(["workspace", *arguments])


def test_the_docs_have_a_measured_row_of_each_span() -> None:
    page = (Path(__file__).parents[4] / "docs" / "workspace.md").read_text(encoding="utf-8")
    assert [span for span in SPANS if page.count(f"\n| 1 {span} |") != 1] == []
