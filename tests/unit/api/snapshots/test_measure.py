"""How logged rows become the frames that are measured."""

import math
import random

import pytest

from api.prediction_log.records import LoggedRow
from api.snapshots.logged_frames import window_frame
from tests.unit.evidently_workspace.regression_model import build_regression_manifest

FEATURES = {"x0": 1.5, "x1": None, "colour": "red", "member": True}


def logged(prediction: str, label: str | None = None) -> LoggedRow:
    return LoggedRow(FEATURES, prediction, {}, label)


def test_numbers_are_read_from_the_log_to_the_last_digit() -> None:
    numbers = [random.Random(n).uniform(-1e6, 1e6) for n in range(500)]
    frame = window_frame([logged(repr(one), repr(-one)) for one in numbers], build_regression_manifest(), labelled=True)
    assert frame["prediction"].tolist() == numbers
    assert frame["label"].tolist() == [-one for one in numbers]
    assert list(frame) == [*FEATURES, "prediction", "label"]


@pytest.mark.parametrize("word", ["setosa", "", "True", None])
def test_a_label_that_is_no_number_is_missing(word: str | None) -> None:
    frame = window_frame([logged("1.0", word), logged("2.0", "3.0")], build_regression_manifest(), labelled=True)
    assert math.isnan(frame["label"][0])
    assert frame["label"][1] == 3.0
    assert frame["prediction"].tolist() == [1.0, 2.0]
    assert frame["prediction"].dtype == "float64"


def test_a_window_without_rows_has_its_columns() -> None:
    frame = window_frame([], build_regression_manifest(), labelled=True)
    assert list(frame) == [*FEATURES, "prediction", "label"]
    assert frame["label"].dtype == "float64"
