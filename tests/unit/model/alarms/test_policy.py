from pathlib import Path

import pytest

from model.alarms.policy import AlarmPolicy
from model.artifact.store import read_manifest
from model.errors import DataError
from model.train import build_parser, main


@pytest.mark.parametrize("rate", [0, -0.1, 0.5, float("nan")])
def test_a_false_alarm_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    with pytest.raises(DataError, match="false alarm rate"):
        AlarmPolicy(false_alarm_rate=rate)


@pytest.mark.parametrize("floor", [-0.1, float("inf"), float("nan")])
def test_a_floor_that_makes_no_sense_is_refused(floor: float) -> None:
    with pytest.raises(DataError, match="floor"):
        AlarmPolicy(wasserstein_floor=floor)


def test_every_choice_is_an_option_of_training_with_its_default() -> None:
    options = vars(build_parser().parse_args([]))
    policy = vars(AlarmPolicy()) | {"alarms": None}
    del policy["kind"]  # by what is trained on
    assert {name: options[name] for name in policy} == policy


@pytest.mark.parametrize("budget", [0, -1, 51, float("nan")])
def test_a_budget_of_false_alerts_that_makes_no_sense_is_refused(budget: float) -> None:
    with pytest.raises(DataError, match="false_alerts_a_month"):
        AlarmPolicy(false_alerts_a_month=budget)


def test_the_choices_reach_the_manifest(tmp_path: Path) -> None:
    out = tmp_path / "model"
    choices = ["--false-alarm-rate", "0.01", "--wasserstein-floor", "0.7", "--concept-gap-floor", "0.2"]
    assert main(["--out", str(out), *choices]) == 0
    manifest = read_manifest(out)
    assert manifest.false_alarm_rate == 0.01
    assert {one.floor for one in manifest.thresholds if one.method == "wasserstein"} == {0.7}
    assert manifest.thresholds[0].at(10_000) == 0.7
    assert manifest.concept_threshold.gap_floor == 0.2
