import pytest

from scripts.load.arguments import parse, plan_of


def test_a_plan_follows_the_arguments() -> None:
    plan = plan_of(parse(["--scenario", "data_drift", "--rate", "50", "--duration", "4", "--label-delay", "2.5"]))
    assert (plan.scenario, plan.rate, plan.duration_seconds, plan.label_delay_seconds) == ("data_drift", 50, 4, 2.5)
    assert plan.requests == 200


def test_the_shortest_plan_has_one_request() -> None:
    assert plan_of(parse(["--rate", "0.1", "--duration", "1"])).requests == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "chaos"], "invalid choice: 'chaos'"),
        (["--rate", "0"], "--rate: 0 is not a number above zero"),
        (["--rate", "fast"], "--rate: 'fast' is not a number above zero"),
        (["--duration", "inf"], "--duration: inf is not a number above zero"),
        (["--seed", "-1"], "--seed: -1 is not a whole number from 0"),
        (["--label-share", "1.5"], "--label-share: 1.5 is not a share from 0 to 1"),
        (["--label-delay", "nan"], "--label-delay: nan is not a number from zero"),
        (["--batch", "10001"], "--batch: 10001 is not a whole number from 1 to 10000"),
        (["--concurrency", "0"], "--concurrency: 0 is not a whole number from 1 to 2000"),
    ],
)
def test_an_impossible_argument_is_named_and_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
