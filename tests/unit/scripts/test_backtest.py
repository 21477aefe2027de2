"""What a backtest says of a file: with labels, without, with some; and of options that do not fit together."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from api.prediction_log.reader import HeldSpan
from model.alarms.window_checks import Failure
from model.artifact.manifest import LABEL
from model.artifact.store import read_manifest, read_test
from model.artifact.traffic import TrafficAlarms, TrafficThreshold
from model.errors import DataError
from scripts.backtest import failure_text, learning_note, main, seconds_of
from scripts.past_rows import whole_windows
from tests.watched import loans

START = datetime(2026, 11, 23, tzinfo=UTC)
ROWS = 60
NEED_LABELS = {"target_drift", "concept_drift", "performance"}


def hours(artifact: Path, count: int = 3) -> pd.DataFrame:
    """Rows of the test set at one a minute of so many hours, with their labels under the name of the target."""
    manifest = read_manifest(artifact)
    rows = read_test(artifact).sample(count * ROWS, replace=True, random_state=0, ignore_index=True)
    frame = rows[list(manifest.feature_names)].assign(**{manifest.target: rows[LABEL]})
    return frame.assign(when=[(START + timedelta(minutes=n)).isoformat() for n in range(len(frame))])


def backtest(artifact: Path, frame: pd.DataFrame, folder: Path, *options: str) -> dict[str, Any]:
    file, out = folder / "rows.csv", folder / "out.json"
    frame.to_csv(file, index=False)
    arguments = ["--model-dir", str(artifact), "--csv", str(file), "--time", "when", "--json", str(out), *options]
    assert main(arguments) == 0
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def values(window: dict[str, Any], name: str) -> dict[str | None, float]:
    return {one["column"]: one["value"] for one in window["values"] if one["name"] == name}


@pytest.mark.parametrize("artifact", ["iris_artifact", "diabetes_artifact"])
def test_without_labels_the_checks_that_need_them_are_not_judged_and_that_is_said(
    artifact: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue(artifact)
    target = read_manifest(folder).target
    found = backtest(folder, hours(folder).drop(columns=target), tmp_path)
    assert set(found["summary"]["not_checked"]) == NEED_LABELS | {"attribution_drift"}
    assert set(found["summary"]["failed_windows_by_check"]) == {"data_drift", "prediction_drift", "data_quality"}
    assert [window["rows"] for window in found["windows"]] == [ROWS] * 3
    assert f"no column '{target}', so no check that needs labels was judged" in (said := capsys.readouterr().out)
    assert said.count("not checked") == 4


def test_a_row_without_a_label_counts_for_what_needs_none(
    iris_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, target = hours(iris_artifact), read_manifest(iris_artifact).target
    whole = backtest(iris_artifact, frame, tmp_path)
    frame.loc[frame.index[: ROWS - 20], target] = None
    frame.iloc[ROWS : ROWS + 20, frame.columns.get_loc(target)] = "n/a"
    some = backtest(iris_artifact, frame, tmp_path)
    assert some["summary"]["not_checked"] == ["attribution_drift"]
    assert "rows have no label" in capsys.readouterr().out
    for with_all, with_some in zip(whole["windows"], some["windows"], strict=True):
        assert with_some["rows"] == ROWS
        assert values(with_some, "data_drift") == values(with_all, "data_drift")
    known = ["accuracy" in {one["name"] for one in window["values"]} for window in some["windows"]]
    assert known[0] is False  # fewer labels than a window needs
    assert known[2] is True


def test_metadata_of_the_file_divides_its_rows_and_a_segment_that_fails_is_named(
    divided_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_test(divided_artifact).sample(3 * 120, replace=True, random_state=0, ignore_index=True)
    frame = rows[["size", "colour"]].assign(shop=rows["segment: shop"], sold=rows[LABEL])
    frame["when"] = [(START + timedelta(seconds=30 * n)).isoformat() for n in range(len(frame))]
    late = (frame["shop"] == "south") & (frame.index >= 240)
    frame["sold"] = frame["sold"].mask(late, frame["sold"].map({"yes": "no", "no": "yes"}))
    first, _, last = backtest(divided_artifact, frame, tmp_path)["windows"]
    assert values(first, "segment_rows").keys() == {"shop=north", "shop=south", "colour=red", "colour=blue"}
    assert not [one for one in first["failed_checks"] if one.get("measure") == "segment"]
    failed = {one["column"] for one in last["failed_checks"] if one.get("measure") == "segment"}
    assert "shop=south" in failed
    assert "shop=north" not in failed
    assert failure_text(Failure("performance", "shop=south", 0.2, 0.7, "segment")).startswith(
        "performance shop=south (segment) 0.2"
    )
    without = backtest(divided_artifact, frame.drop(columns="shop"), tmp_path)["windows"]
    assert "shop (missing)" in values(without[0], "segment_rows")
    assert "2026-11-23" in capsys.readouterr().out


def test_a_target_that_is_named_and_missing_is_an_error(
    iris_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    hours(iris_artifact).to_csv(file, index=False)
    options = ["--model-dir", str(iris_artifact), "--csv", str(file), "--time", "when", "--target", "kind"]
    assert main(options) == 2
    assert "has no column 'kind'; it has: " in capsys.readouterr().err


def test_an_empty_column_and_a_rare_class_are_judged_and_not_refused(iris_artifact: Path, tmp_path: Path) -> None:
    frame, manifest = hours(iris_artifact), read_manifest(iris_artifact)
    empty = manifest.feature_names[0]
    frame[empty] = np.nan
    frame[manifest.target] = manifest.class_names[0]
    frame.iloc[0, frame.columns.get_loc(manifest.target)] = manifest.class_names[1]
    found = backtest(iris_artifact, frame, tmp_path)
    failed = {(one["check"], one["column"]) for window in found["windows"] for one in window["failed_checks"]}
    assert ("data_quality", empty) in failed
    assert ("target_drift", "label") in failed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --csv and --time, for a file, or --from and --to, for the log"),
        (["--from", "2026-11-23"], "give either --csv and --time"),
        (["--csv", "rows.csv"], "--csv needs --time"),
        (["--csv", "rows.csv", "--time", "t", "--to", "2026-11-23"], "leave them out with --csv"),
        (["--from", "2026-11-23", "--to", "2026-11-24", "--target", "y"], "--target is about a CSV file"),
        (["--from", "2026-11-24", "--to", "2026-11-24T01:00+02:00"], "--from must be before --to"),
        (["--from", "yesterday", "--to", "2026-11-23"], "'yesterday' is not a time such as"),
        (["--from", "0001-01-01T00:00+05:00", "--to", "2026-11-23"], "is not a time such as"),
        (["--csv", "rows.csv", "--time", "t", "--min-rows", "0"], "is not a whole number from 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_rule_that_can_never_fire_is_refused(
    iris_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model-dir", str(iris_artifact), "--csv", str(tmp_path / "rows.csv"), "--time", "when"]
    assert main([*options, "--windows-failed", "4", "--windows", "3"]) == 2
    assert "4 of 3 windows can never fail" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "1.5h", "1w", "-1h", "1h 1d", "٣h"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not a length such as 90s, 5min, 1h or 1d"):
        seconds_of(text)


def test_only_windows_that_lie_wholly_in_the_span_and_have_ended_are_judged() -> None:
    held = HeldSpan(START, START + timedelta(hours=9), START + timedelta(hours=9, minutes=10))
    minutes = timedelta(minutes=30)
    assert whole_windows(START - minutes, START + timedelta(days=3), 3_600, held) == (
        START,
        START + timedelta(hours=9),
    )
    assert whole_windows(START + minutes, START + timedelta(hours=5), 3_600, held) == (
        START + timedelta(hours=1),
        START + timedelta(hours=5),
    )
    with pytest.raises(DataError, match="no whole window of 3600 s lies between 2026-11-23 00:30 UTC and"):
        whole_windows(START + minutes, START + timedelta(hours=1, minutes=59), 3_600, held)


def test_a_failure_that_several_windows_show_says_so() -> None:
    lasting = Failure("data_drift", "price", 1.5, 1.25, "mean of 7 days")
    assert failure_text(lasting) == "data_drift price, mean of 7 days, from several windows: 1.5 (threshold 1.25)"
    assert failure_text(lasting._replace(measure=None)) == "data_drift price 1.5 (threshold 1.25)"
    assert failure_text(Failure("concept_drift", None, 5.0, 4.0)) == "concept_drift 5 (threshold 4)"


def test_what_is_still_learned_is_named() -> None:
    def gross(name: str, column: str | None) -> TrafficThreshold:
        one = {"interval_seconds": 3_600, "cycle": "none", "usual": (0.0,), "thresholds": (1.0,)}
        return TrafficThreshold(name=name, column=column, above=True, blocks=0, windows=0, **one)

    few = (gross("attribution_ndcg", None), gross("data_drift", "price"))
    many = (*few, *(gross("missing_share", str(number)) for number in range(9)))
    notes = [
        learning_note(TrafficAlarms(time_zone="UTC", days=0, false_alarm_days=90, thresholds=t)) for t in (few, many)
    ]
    assert "of attribution_ndcg, data_drift of price: only" in notes[0]
    assert "missing_share of 5 and 3 more: only" in notes[1]


def watched_hours(*, flipped: bool = False) -> pd.DataFrame:
    """Loans at one a minute with their answers; in the last of three hours, all decisions may be wrong."""
    frame = pd.DataFrame(loans(3 * ROWS, seed=4))
    if flipped:
        wrong = frame["defaulted"].map({"yes": "no", "no": "yes"})
        frame["decision"] = frame["decision"].where(frame.index < 2 * ROWS, wrong)
    return frame.assign(when=[(START + timedelta(minutes=n)).isoformat() for n in range(len(frame))])


@pytest.mark.parametrize("kind", ["classes", "plain"])
def test_a_watched_model_is_judged_by_the_predictions_in_the_file(
    watched_artifact: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    folder = watched_artifact(kind)
    found = backtest(folder, watched_hours(flipped=True), tmp_path)
    failed = [{check["check"] for check in window["failed_checks"]} for window in found["windows"]]
    assert failed[:2] == [set(), set()]
    assert "performance" in failed[2]
    not_checked = {"attribution_drift"} | ({"concept_drift"} if kind == "plain" else set())
    assert set(found["summary"]["not_checked"]) == not_checked
    assert [values(window, "accuracy")[None] for window in found["windows"]][2] == 0


def test_a_file_without_the_predictions_of_a_watched_model_is_refused(
    watched_artifact: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    watched_hours().drop(columns="decision").to_csv(file, index=False)
    assert main(["--model-dir", str(watched_artifact("classes")), "--csv", str(file), "--time", "when"]) == 2
    assert "has no column 'decision'; the model is served elsewhere" in capsys.readouterr().err
