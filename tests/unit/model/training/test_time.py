"""Rows with a time: divided in its order, and alarms that know the hours."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from model.artifact.store import read_manifest
from model.data.csv_file import TimeColumn, read_columns
from model.data.split import Shares, split_in_time
from model.errors import DataError
from model.train import main as train
from scripts.backtest import alerts_of
from scripts.backtest import main as backtest

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 40


def write_traffic(file: Path, days: int, *, first: int = 0, shift: float = 0.0, seed: int = 0) -> Path:
    """Forty rows an hour, eight hours a day; `load` follows the hour, `noise` does not, and days differ a little."""
    rng = np.random.default_rng(seed)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["when", "load", "noise", "busy"])
        for day in range(first, first + days):
            of_day = rng.normal(0, 0.2)
            for hour in range(8, 16):
                for minute in np.sort(rng.integers(0, 60, 40)):
                    load = hour + of_day + rng.normal()
                    noise = rng.normal() + shift
                    busy = "yes" if load + rng.normal() > 12 else "no"
                    moment = START + timedelta(days=day, hours=hour, minutes=int(minute))
                    writer.writerow([moment.strftime("%Y-%m-%d %H:%M"), f"{load:.3f}", f"{noise:.3f}", busy])
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows had times, with the file of its rows beside it."""
    place = tmp_path_factory.mktemp("time")
    file = write_traffic(place / "rows.csv", DAYS)
    arguments = ["--csv", str(file), "--target", "busy", "--time", "when", "--estimator", "logistic_regression"]
    assert train([*arguments, "--out", str(place / "model")]) == 0
    return place / "model"


@pytest.fixture(scope="module")
def few_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of some of these days, where the alarms do not follow from how days differ."""
    return write_traffic(tmp_path_factory.mktemp("few_days") / "rows.csv", 6)


def test_the_time_is_no_feature_and_the_manifest_says_what_the_history_was(folder: Path) -> None:
    manifest = read_manifest(folder)
    traffic = manifest.traffic
    assert manifest.feature_names == ("load", "noise")
    assert traffic is not None
    assert traffic.start is not None
    assert traffic.end is not None
    assert (traffic.time_column, traffic.time_zone) == ("when", "UTC")
    # all rows: models that were fitted on other days have predicted those that the model was fitted on
    assert START <= traffic.start < START + timedelta(days=1)
    assert START + timedelta(days=DAYS - 1) < traffic.end < START + timedelta(days=DAYS)
    assert traffic.days == DAYS
    assert traffic.false_alarm_days <= 3 * traffic.days
    assert manifest.alarms == "time"
    assert {one.name for one in traffic.gross} == {"attribution_ndcg", "attribution_distance"}
    assert traffic.lengths[3_600] == DAYS * 8
    cycles = {
        one.column: one.cycle for one in traffic.thresholds if (one.name, one.interval_seconds) == ("data_drift", 3_600)
    }
    assert cycles == {"load": "hour", "noise": "none"}


def judged(folder: Path, file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    out = file.with_suffix(".json")
    arguments = ["--model-dir", str(folder), "--csv", str(file), "--time", "when", "--json", str(out), *options]
    assert backtest(arguments) == 0, capsys.readouterr().err
    found: dict[str, object] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_a_quiet_month_is_quiet_and_a_steady_column_that_moves_is_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = judged(folder, write_traffic(tmp_path / "quiet.csv", 30, first=DAYS, seed=1), capsys)
    assert quiet["summary"]["windows"] == 240  # type: ignore[index]
    assert quiet["summary"]["failed_windows"] <= 5  # type: ignore[index]
    moved = judged(folder, write_traffic(tmp_path / "moved.csv", 3, first=DAYS, seed=1, shift=1.5), capsys)
    assert moved["summary"]["failed_windows_by_check"]["data_drift"] >= 22  # type: ignore[index]
    assert "data_drift" in {alert["check"] for alert in moved["alerts"]}  # type: ignore[attr-defined]
    window = moved["windows"][0]  # type: ignore[index]
    assert window.keys() == {"start", "end", "rows", "failed_checks", "values"}
    assert window["failed_checks"][0].keys() == {"check", "column", "value", "threshold"}
    assert window["failed_checks"][0]["column"] == "noise"
    assert window["values"][0].keys() == {"name", "column", "value"}


def test_a_file_without_a_time_gets_alarms_that_learn(
    few_days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--csv", str(few_days), "--target", "busy", "--estimator", "logistic_regression"]
    assert train([*arguments, "--time-zone", "Europe/Paris", "--out", str(tmp_path / "model")]) == 0
    assert "learn: only gross changes alarm until" in " ".join(capsys.readouterr().out.split())
    manifest = read_manifest(tmp_path / "model")
    assert manifest.alarms == "learn"
    assert manifest.traffic is not None
    assert manifest.traffic.gross == manifest.traffic.thresholds
    assert manifest.traffic.time_zone == "Europe/Paris"
    assert manifest.traffic.start is None
    found = judged(tmp_path / "model", write_traffic(tmp_path / "quiet.csv", 3, first=DAYS, seed=1), capsys)
    assert found["summary"]["failed_windows"] == 0


def test_alarms_in_time_need_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(["--csv", "rows.csv", "--target", "busy", "--alarms", "time"])
    assert "--alarms time go with --time" in capsys.readouterr().err


def test_without_a_time_hours_count_as_drift_and_the_command_says_so(
    few_days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--csv", str(few_days), "--target", "busy", "--estimator", "logistic_regression"]
    assert train([*arguments, "--alarms", "rows", "--out", str(tmp_path / "model")]) == 0
    assert read_manifest(tmp_path / "model").traffic is None
    assert read_manifest(tmp_path / "model").alarms == "rows"
    found = judged(tmp_path / "model", write_traffic(tmp_path / "quiet.csv", 3, first=DAYS, seed=1), capsys)
    assert found["summary"]["failed_windows_by_check"]["data_drift"] >= 15  # type: ignore[index]
    assert "Train with --time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "then"], "has no column 'then'; it has: when, load, noise, busy"),
        (["--time", "busy"], "column 'busy' cannot be both the target and the time"),
        (["--time", "load"], "is not a time"),
        (["--time", "when", "--time-zone", "Mars"], "'Mars' is no time zone"),
    ],
)
def test_what_is_no_time_ends_in_one_line(
    options: list[str], message: str, few_days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--csv", str(few_days), "--target", "busy", *options]
    assert train([*arguments, "--out", str(tmp_path / "model")]) == 2
    assert message in capsys.readouterr().err


def test_rows_are_divided_in_the_order_of_their_times() -> None:
    times = np.random.default_rng(0).permutation(100).astype(float)
    split = split_in_time(times, np.arange(100) % 2, Shares())
    assert times[split.train].max() < times[split.test].min()
    assert times[split.test].max() < times[split.reference].min()
    assert [len(split.train), len(split.test), len(split.reference)] == [50, 20, 30]


def test_a_class_that_comes_only_later_is_said() -> None:
    with pytest.raises(DataError, match="1 classes or groups of numbers are in later rows only"):
        split_in_time(np.arange(100.0), (np.arange(100) > 80).astype(np.int64), Shares())


def test_the_time_column_of_a_file_is_read_in_its_zone(folder: Path) -> None:
    columns = read_columns(folder.parent / "rows.csv", "busy", time=TimeColumn("when", "America/New_York"))
    assert columns.times is not None
    assert columns.times.seconds.min() == pytest.approx((START + timedelta(hours=13)).timestamp(), abs=3_600)


def test_alerts_fire_at_k_failed_windows_of_n_and_end_when_fewer_fail() -> None:
    from api.alerts.rules import Quorum  # noqa: PLC0415 - beside what it is for
    from model.alarms.window_checks import Failure, JudgedWindow  # noqa: PLC0415 - as above

    failure = (Failure("data_drift", "x", 1.0, 0.5),)
    windows = [
        JudgedWindow(START + timedelta(hours=n), START + timedelta(hours=n + 1), 40, {}, failure if fails else ())
        for n, fails in enumerate([True, False, True, True, False, False, False, True, True])
    ]
    spans = [
        (span.check, (span.start - START) // timedelta(hours=1), span.end and (span.end - START) // timedelta(hours=1))
        for span in alerts_of(windows, Quorum(2, 3))
    ]
    assert spans == [("data_drift", 3, 6), ("data_drift", 9, None)]
