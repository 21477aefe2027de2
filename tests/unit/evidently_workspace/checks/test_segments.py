"""Segments in a snapshot: values, alarms, the weakest ones, fairness."""

import numpy as np
import pandas as pd
import pytest

from evidently_workspace.frames import with_schema
from model.statistics.segments import fairness, row_scores, segments_of
from model.statistics.weakest import weakest_segments

OTHERS = {"a": "b", "b": "c", "c": "a"}


@pytest.fixture
def divided(make_manifest):
    return make_manifest().model_copy(
        update={"segments": ("colour", "shop"), "metadata": ("shop",), "fairness": ("member",)}
    )


def spoiled(rows: pd.DataFrame) -> pd.DataFrame:
    bad = (rows["colour"] == "red") & (rows["x0"] > 0)
    return rows.assign(label=rows["label"].mask(bad, rows["prediction"].map(OTHERS)))


def test_a_segment_that_got_worse_fails_performance(snap, divided, make_rows) -> None:
    quiet = snap(divided, reference=make_rows(divided, 600, seed=3))
    worse = snap(divided, labelled=spoiled(make_rows(divided, 400, seed=2)), reference=make_rows(divided, 600, seed=3))
    assert not [one for one in quiet.failed_checks if one.measure == "segment"]
    failed = {(one.check, one.column) for one in worse.failed_checks if one.measure == "segment"}
    assert failed == {("performance", "colour=red")}
    assert {one.column for one in worse.values if one.name == "segment_accuracy"} >= {"colour=red", "colour=blue"}
    assert any("shop" in one for one in worse.not_computed)


def test_hostile_values_have_names_of_their_own(divided, make_rows) -> None:
    rows = make_rows(divided, 400)
    rows["segment: shop"] = np.resize(["x\0", "x\x01", "y" * 900, "y" * 901, None, *map(str, range(9))], 400)
    frame = with_schema(rows, divided)
    for found in segments_of(frame, frame, frame, divided):
        labels = [one.label for one in found]
        assert len(set(labels)) == len(labels) <= 11
        assert all(one.isprintable() and len(one) <= 200 for one in labels)
        assert sum(one.current.sum() for one in found) == len(frame)


def test_the_weakest_segment_is_found_and_quiet_rows_have_none(divided, make_rows) -> None:
    quiet, bad = (with_schema(one, divided) for one in (make_rows(divided, 800), spoiled(make_rows(divided, 800))))
    assert weakest_segments(quiet, row_scores(quiet, divided), divided) == []
    found = weakest_segments(bad, row_scores(bad, divided), divided)
    assert found[0].rule.startswith("colour red and x0 from ")
    assert found[0].high < 0.2 < found[0].elsewhere


def test_fairness_differences_are_those_counted_by_hand(make_manifest) -> None:
    manifest = make_manifest(("no", "yes")).model_copy(update={"fairness": ("member",)})
    # True: 20 of 40 predicted yes, 15 of 20 true yes found, 5 of 20 false; False: 8 of 40, 6 of 20, 2 of 20
    rows = pd.DataFrame(
        [("True", "yes", "yes")] * 15
        + [("True", "yes", "no")] * 5
        + [("True", "no", "yes")] * 5
        + [("True", "no", "no")] * 15
        + [("False", "yes", "yes")] * 6
        + [("False", "yes", "no")] * 2
        + [("False", "no", "yes")] * 14
        + [("False", "no", "no")] * 18,
        columns=["member", "prediction", "label"],
    )
    found = fairness("member", rows, rows, manifest)
    assert found.demographic_parity == pytest.approx(20 / 40 - 8 / 40)
    assert found.equalized_odds == pytest.approx(15 / 20 - 6 / 20)
