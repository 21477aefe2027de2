"""The next step after each check: one sentence, whose commands and addresses exist."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from api.alerts.next_steps import NextSteps
from evidently_workspace.checks import CHECKS
from model.train import build_parser as build_train_parser
from scripts.calibrate import build_parser
from scripts.command_line import moment

START = datetime(2026, 11, 23, 12, 5, 0, 250, tzinfo=UTC)
ONE = NextSteps("https://vigie.example/", None, Path("data/model"))
OF_SEVERAL = NextSteps("https://vigie.example", "credit-risk", Path("models/credit-risk"))


def failed(check: str, column: str | None) -> dict[str, Any]:
    return {"check": check, "column": column, "value": 0.8, "threshold": 0.4}


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
@pytest.mark.parametrize("steps", [ONE, OF_SEVERAL])
def test_every_check_has_a_step_that_names_its_rows_and_its_command(check: str, steps: NextSteps) -> None:
    text = steps.after(failed(check, None), START)
    prefix = "" if steps is ONE else "/models/credit-risk"
    rows = f"https://vigie.example{prefix}/snapshots/2026-11-23T12:05:00.000250Z/rows?check={check}"
    assert text.startswith(f"look at the rows: {rows};")
    if check in {"concept_drift", "performance"}:
        assert text.endswith(f"curl -X POST https://vigie.example{prefix or '/model'}/reload")
        return
    command = re.search(r"python -m scripts\.calibrate (.+)$", text)
    assert command is not None
    options = build_parser().parse_args(shlex.split(command[1]))
    assert options.start == START
    assert (options.end - options.start).days == 7
    assert options.model == (None if steps is ONE else "credit-risk")


def test_the_labels_since_then_train_a_candidate() -> None:
    command = re.search(r"python -m model\.train ([^)]+)", OF_SEVERAL.after(failed("performance", None), START))
    assert command is not None
    options = build_train_parser().parse_args(shlex.split(command[1]))
    assert options.from_log
    assert (moment(options.since), options.model) == (START, "credit-risk")


def test_a_model_that_is_served_elsewhere_is_trained_there() -> None:
    watched = NextSteps("https://vigie.example", None, Path("data/model"), is_watched=True)
    text = watched.after(failed("performance", None), START)
    assert text.endswith("; then train the model again where it is served")


def test_a_column_is_part_of_the_address_whatever_its_name_is() -> None:
    text = ONE.after(failed("data_quality", "price in € & more; <b>"), START)
    address = text.removeprefix("look at the rows: ").split(";")[0]
    assert parse_qs(urlsplit(address).query) == {"check": ["data_quality"], "column": ["price in € & more; <b>"]}
    assert "correct what fills price in € & more; <b>" in text


def test_a_score_is_no_column_of_the_rows() -> None:
    assert "column=" not in ONE.after(failed("performance", "accuracy"), START)
    assert "column=" not in ONE.after(failed("prediction_drift", "prediction"), START)
