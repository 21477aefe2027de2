"""Snapshots of a regressor: failed checks, values, and windows that lack something."""

import json

import numpy as np
import pytest

from tests.unit.evidently_workspace.regression_model import NOISE, SPREAD
from tests.work import counted_calls

SCORES = [
    "mean_absolute_error",
    "root_mean_squared_error",
    "r2",
    "mean_error",
    "largest_absolute_error",
    "mean_absolute_percentage_error",
]
NEED_LABELS = ("target drift", "concept drift", "performance")


def values_of(snapshot, name):
    return {value.column: value.value for value in snapshot.values if value.name == name}


def checks_of(snapshot):
    return {(check.check, check.measure) for check in snapshot.failed_checks}


def failing_tests(snapshot):
    results = json.loads(snapshot.body)["metric_results"].values()
    return [test for result in results for test in result["tests"] if test["status"] == "FAIL"]


@pytest.fixture
def rows(regression_manifest, make_regression_rows):
    """Make rows of the regressor."""
    return lambda count=300, **changed: make_regression_rows(regression_manifest, count, **changed)


@pytest.fixture
def take(snap, regression_manifest):
    """Take a snapshot of the regressor."""
    return lambda **rest: snap(regression_manifest, **rest)


@pytest.fixture(scope="module")
def quiet(snap, regression_manifest):
    """One snapshot of a window like the reference, for tests that only look at it."""
    return snap(regression_manifest)


def test_a_window_like_the_reference_raises_no_alarm(quiet):
    assert quiet.failed_checks == ()
    assert quiet.not_computed == ()
    assert failing_tests(quiet) == []


def test_every_measure_has_one_value_that_no_other_has(quiet, regression_manifest):
    names = [(value.name, value.column) for value in quiet.values]
    assert len(names) == len(set(names))
    concept = [
        "observed_error",
        "expected_error",
        "observed_bias",
        "expected_bias",
        "concept_gap",
        "concept_z",
        "concept_size_gap",
        "concept_size_z",
        "concept_bias_gap",
        "concept_bias_z",
    ]
    for name in (*SCORES, *concept, "prediction_drift", "target_drift", "prediction_mean", "label_mean"):
        assert list(values_of(quiet, name)) == [None], name
    for name in ("prediction_quantile", "label_quantile"):
        assert list(values_of(quiet, name)) == ["0.05", "0.5", "0.95"]
    assert values_of(quiet, "version_mean_absolute_error") == {
        regression_manifest.version: values_of(quiet, "mean_absolute_error")[None]
    }


def test_scores_are_those_of_the_rows(take, rows):
    labelled = rows()
    scored = take(labelled=labelled)
    error = labelled.prediction - labelled.label
    found = {name: values_of(scored, name)[None] for name in SCORES}
    assert found == pytest.approx(
        {
            "mean_absolute_error": error.abs().mean(),
            "root_mean_squared_error": np.sqrt((error**2).mean()),
            "r2": 1 - (error**2).sum() / ((labelled.label - labelled.label.mean()) ** 2).sum(),
            "mean_error": error.mean(),
            "largest_absolute_error": error.abs().max(),
            "mean_absolute_percentage_error": 100 * (error.abs() / labelled.label).mean(),
        }
    )
    assert values_of(scored, "label_mean")[None] == pytest.approx(labelled.label.mean())


def test_a_shift_of_all_labels_is_concept_drift_by_its_bias(take, rows):
    """The size of the errors hardly grows, which is why the bias is a measure of its own."""
    shifted = take(labelled=rows(bias=0.5 * NOISE))
    assert checks_of(shifted) - {("target_drift", None)} == {("concept_drift", "bias_z")}
    (check,) = (check for check in shifted.failed_checks if check.check == "concept_drift")
    assert check.value == values_of(shifted, "concept_bias_z")[None] == values_of(shifted, "concept_z")[None]
    assert check.value >= check.threshold >= 4.0
    assert values_of(shifted, "concept_bias_gap")[None] == pytest.approx(0.5 * NOISE, rel=0.2)
    assert len(failing_tests(shifted)) == len(shifted.failed_checks)


def test_larger_errors_in_both_directions_are_concept_drift_by_their_size_and_worse_performance(take, rows):
    wider = take(labelled=rows(noise=2 * NOISE))
    assert checks_of(wider) == {("concept_drift", "size_z"), ("performance", "mean_absolute_error")}
    by_check = {check.check: check for check in wider.failed_checks}
    assert by_check["performance"].value == values_of(wider, "mean_absolute_error")[None]
    assert by_check["performance"].value > by_check["performance"].threshold > 0.8 * NOISE + 0.05 * SPREAD
    assert len(failing_tests(wider)) == len(wider.failed_checks)


def test_a_gap_below_the_floor_is_no_alarm_however_sure_it_is(snap, regression_manifest, rows):
    sure = regression_manifest.concept_threshold.model_copy(update={"thresholds": (0.0, 0.0), "gap_floor": 2 * NOISE})
    small = snap(regression_manifest.model_copy(update={"concept_threshold": sure}), labelled=rows(bias=0.4 * NOISE))
    assert values_of(small, "concept_z")[None] > 4
    assert small.failed_checks == ()
    assert failing_tests(small) == []


def test_inputs_that_move_alone_are_data_and_prediction_drift(take, rows):
    moved = rows(shift=2.0)
    fired = {check for check, _ in checks_of(take(current=moved, labelled=moved))}
    assert fired == {"data_drift", "prediction_drift", "target_drift", "data_quality"}


def test_other_labels_are_target_drift(take, rows):
    labelled = rows()
    high = take(labelled=labelled[labelled.label > labelled.label.median()])
    assert ("target_drift", None) in checks_of(high)


def test_mean_absolute_error_may_stray_by_chance(take, rows):
    assert take(labelled=rows(40, seed=5, noise=1.1 * NOISE)).failed_checks == ()


def test_labels_that_do_not_differ_have_no_r2_and_every_other_score(take, rows):
    same = take(labelled=rows().assign(label=150.0))
    assert same.not_computed == ("performance: r2: not defined for labels that do not differ",)
    assert all(values_of(same, name) for name in SCORES if name != "r2")


@pytest.mark.parametrize("labels", [[0.0], [-1.0, 1.0], [0.0, 200.0]])
def test_labels_about_zero_cost_the_percentage_alone(take, rows, labels):
    labelled = rows().assign(label=(labels * 300)[:300])
    near = take(labelled=labelled)
    reasons = [reason for reason in near.not_computed if "percentage" in reason]
    assert len(reasons) == 1
    assert "near zero" in reasons[0]
    expected = (labelled.prediction - labelled.label).abs().mean()
    assert values_of(near, "mean_absolute_error")[None] == pytest.approx(expected)


def test_a_target_that_may_be_zero_has_no_percentages_at_all(snap, regression_manifest):
    known = regression_manifest.label_range.model_copy(update={"minimum": 0.0})
    plain = snap(regression_manifest.model_copy(update={"label_range": known}))
    assert values_of(plain, "mean_absolute_percentage_error") == {}
    assert plain.not_computed == ()


@pytest.mark.parametrize("word", ["setosa", "", "nan", None])
def test_what_is_no_number_is_counted_and_costs_no_other_row(take, rows, word):
    labelled = rows().astype({"label": object})
    labelled.loc[:99, "label"] = word
    partial = take(labelled=labelled)
    assert "performance: 100 of 300 labels or their predictions are no numbers" in partial.not_computed
    rest = labelled[100:]
    assert values_of(partial, "mean_absolute_error")[None] == pytest.approx((rest.prediction - rest.label).abs().mean())


def test_rows_of_a_model_of_classes_give_a_snapshot_that_says_so(take, rows):
    words = rows().assign(prediction="setosa", label="virginica", probability_setosa=0.5)
    other = take(current=words, labelled=words)
    assert {reason.split(":")[0] for reason in other.not_computed} == {"prediction drift", *NEED_LABELS}
    assert values_of(other, "data_drift") != {}


@pytest.mark.parametrize("huge", [1e300, -1e308, np.inf])
def test_an_absurd_label_does_not_silence_the_window(take, rows, huge):
    labelled = rows()
    labelled.loc[0, "label"] = huge
    absurd = take(labelled=labelled)
    assert not any("failed with" in reason for reason in absurd.not_computed)
    assert ("performance", "mean_absolute_error") in checks_of(absurd) or not np.isfinite(huge)


def test_too_few_labels_are_not_enough_data(take, rows):
    few = take(labelled=rows(5, noise=9 * NOISE))
    assert few.failed_checks == ()
    assert {reason.split(" (")[0] for reason in few.not_computed} == {
        f"{section}: not enough data" for section in NEED_LABELS
    }


def test_one_row_can_be_measured_where_the_settings_allow_it(take, rows):
    one = rows(1)
    tiny = take(current=one, labelled=one, min_rows=1, min_labels=1)
    assert values_of(tiny, "mean_absolute_error") != {}
    assert tiny.not_computed == ("performance: r2: not defined for labels that do not differ",)


def test_an_empty_window_still_gives_a_snapshot(take, rows):
    empty = take(current=rows(0), labelled=rows(0), min_rows=0, min_labels=0, attributions=None)
    assert "mean_absolute_error" not in {value.name for value in empty.values}
    json.loads(empty.body)


def test_predictions_and_labels_that_are_logged_as_text_are_the_same_numbers(take, rows, quiet):
    labelled = rows(200, seed=2)
    as_text = take(labelled=labelled.assign(prediction=labelled.prediction.map(repr), label=labelled.label.map(repr)))
    for name in (*SCORES, "target_drift", "concept_z"):
        assert values_of(as_text, name) == pytest.approx(values_of(quiet, name))


def test_the_report_says_in_which_unit_errors_are(quiet):
    assert "Mean absolute error, EUR" in quiet.html
    assert "Predicted beside actual numbers" in quiet.html
    assert "By the number predicted" in quiet.html


def test_points_keep_their_names_when_the_number_of_rows_changes(take, rows):
    def named(snapshot):
        return set(json.loads(snapshot.body)["metric_results"])

    assert named(take(current=rows(60), labelled=rows(60))) == named(take(current=rows(300), labelled=rows(300)))


def test_the_body_is_small_and_strict_json(quiet):
    assert len(quiet.body) < 180_000
    assert b'"template"' not in quiet.body
    json.loads(quiet.body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_twenty_thousand_rows_of_ten_columns_take_few_calls_a_row(snap, make_regression_manifest, make_regression_rows):
    model = make_regression_manifest(numbers=8)
    current, labelled = make_regression_rows(model, 20_000, seed=1), make_regression_rows(model, 20_000, seed=2)
    taken, calls = counted_calls(lambda: snap(model, current=current, labelled=labelled, sampled_fraction=0.2))
    assert calls < 400 * 20_000
    assert len(taken.body) < 1_000_000
