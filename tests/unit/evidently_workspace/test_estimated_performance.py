"""Estimated performance in a snapshot: values, what is drawn, the page, and models that have no estimates."""

import json

import numpy as np
import pandas as pd

from evidently_workspace.results import FAILED_WITH, NO_PROBABILITIES
from model.artifact.manifest import LABEL
from model.artifact.store import NO_ESTIMATES

CLASS_SCORES = ("accuracy", "f1", "roc_auc")
NUMBER_SCORES = ("mae", "rmse")


def estimated(snapshot):
    return {one.name: one.value for one in snapshot.values if one.name.startswith("estimated_")}


def expected_names(scores):
    return {f"estimated_{name}{end}" for name in scores for end in ("", "_low", "_high")}


def test_every_score_of_a_classifier_is_estimated_with_its_interval(snap, estimates):
    found = estimated(snap(estimates=estimates))

    assert set(found) == expected_names(CLASS_SCORES)
    for name in CLASS_SCORES:
        low, value, high = (found[f"estimated_{name}{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low < value < high <= 1


def test_errors_of_a_regressor_are_estimated(snap, regression_manifest, regression_estimates):
    found = estimated(snap(regression_manifest, estimates=regression_estimates))

    assert set(found) == expected_names(NUMBER_SCORES)
    assert 0 < found["estimated_mae_low"] < found["estimated_mae"] < found["estimated_mae_high"]
    assert found["estimated_rmse"] > found["estimated_mae"]


def test_rows_without_labels_are_estimated_all_the_same(snap, manifest, make_rows, estimates):
    nothing = make_rows(manifest, 200, seed=2).head(0)

    snapshot = snap(labelled=nothing, estimates=estimates)

    assert set(estimated(snapshot)) == expected_names(CLASS_SCORES)
    assert not [one for one in snapshot.values if one.name == "estimate_held"]


def test_labels_say_whether_the_interval_of_their_rows_held(snap, manifest, make_rows, estimates):
    labelled = make_rows(manifest, 200, seed=2)
    others = dict(zip(manifest.class_names, [*manifest.class_names[1:], manifest.class_names[0]], strict=True))
    wrong = labelled.assign(**{LABEL: labelled["prediction"].map(others)})

    held, missed = (
        {
            one.column: one.value
            for one in snap(labelled=rows, estimates=estimates).values
            if one.name == "estimate_held"
        }
        for rows in (labelled, wrong)
    )

    assert held["accuracy"] == 1
    assert missed["accuracy"] == 0


def test_an_interval_is_as_wide_as_past_windows_showed_to_be_right(snap, manifest, make_rows, estimates):
    labelled = make_rows(manifest, 200, seed=2)
    others = dict(zip(manifest.class_names, [*manifest.class_names[1:], manifest.class_names[0]], strict=True))
    spoiled = labelled.assign(**{LABEL: labelled["prediction"].map(others).where(labelled.index < 60, labelled[LABEL])})

    usual = snap(labelled=spoiled, estimates=estimates)
    (far,) = (one.value for one in usual.values if (one.name, one.column) == ("estimate_distance", "accuracy"))
    wide = snap(labelled=spoiled, estimates=estimates, widening={"accuracy": far + 0.1})

    assert far > 1.5
    for snapshot, held in ((usual, 0), (wide, 1)):
        found = {(one.name, one.column): one.value for one in snapshot.values}
        assert found["estimate_held", "accuracy"] == held
        assert found["estimate_distance", "accuracy"] == far  # of the interval as training knew it
    before, after = estimated(usual), estimated(wide)
    assert after["estimated_accuracy"] == before["estimated_accuracy"]
    assert after["estimated_accuracy_low"] < before["estimated_accuracy_low"]
    assert before["estimated_accuracy_high"] < after["estimated_accuracy_high"] <= 1
    assert after["estimated_f1_low"] == before["estimated_f1_low"]


def test_the_dashboard_can_draw_estimate_interval_and_test_set(snap, estimates):
    results = json.loads(snap(estimates=estimates).body)["metric_results"].values()
    params = [result["metric_value_location"]["metric"]["params"] for result in results]

    kinds = {(one["score"], one["kind"]) for one in params if one["type"].endswith("EstimatedScore")}

    assert kinds == {
        (score, kind) for score in CLASS_SCORES for kind in ("estimate", "estimate_low", "estimate_high", "test set")
    }


def test_the_page_shows_the_estimates_and_says_what_they_cannot_see(snap, estimates):
    page = snap(estimates=estimates).html

    assert "Estimated and true scores" in page
    assert "cannot see concept drift" in page


def test_a_model_without_estimates_says_so_and_fails_nothing(snap):
    snapshot = snap(estimates_missing=NO_ESTIMATES)

    assert not estimated(snapshot)
    (said,) = (one for one in snapshot.not_computed if one.startswith("estimated performance"))
    assert NO_ESTIMATES in said
    assert FAILED_WITH not in said


def test_a_model_that_has_no_probabilities_says_that(snap, manifest):
    without = manifest.model_copy(update={"concept_threshold": None})

    snapshot = snap(without, estimates_missing=NO_ESTIMATES)

    assert f"estimated performance: {NO_PROBABILITIES}" in snapshot.not_computed


def test_rows_without_probabilities_are_not_estimated_by_guessing(snap, manifest, make_rows, estimates):
    rows = make_rows(manifest, 200, seed=1)
    gaps = rows.assign(**{name: np.nan for name in rows if name.startswith("probability_")})

    snapshot = snap(current=gaps, estimates=estimates)

    assert isinstance(gaps, pd.DataFrame)
    assert not estimated(snapshot)


def flipped(rows, manifest):
    others = dict(zip(manifest.class_names, [*manifest.class_names[1:], manifest.class_names[0]], strict=True))
    return rows.assign(**{LABEL: rows[LABEL].map(others)})


def test_a_failed_performance_says_that_the_relation_changed(snap, manifest, make_rows, estimates):
    wrong = flipped(make_rows(manifest, 200, seed=2), manifest)

    snapshot = snap(labelled=wrong, estimates=estimates, next_step=lambda failed: f"ask about {failed.check}")

    causes = {failed.check: failed.cause for failed in snapshot.failed_checks}
    assert causes["performance"] == causes["concept_drift"]
    assert "changed inputs explain" in causes["performance"]
    assert causes.get("data_drift") is None
    values = {one.name: one.value for one in snapshot.values if one.name.startswith("change_by_") and not one.column}
    assert values["change_by_relation_high"] < 0
    assert abs(values["change_by_inputs"]) < 0.1
    assert {one.column for one in snapshot.values if one.name == "change_by_feature"} == set(manifest.feature_names)
    assert "Why performance changed" in snapshot.html
    assert f"{causes['performance']}. What to do: ask about performance" in snapshot.html


def test_a_window_as_usual_has_the_parts_and_no_features(snap, manifest, make_rows, estimates):
    snapshot = snap(labelled=make_rows(manifest, 200, seed=2), estimates=estimates)

    values = {one.name: one.value for one in snapshot.values if one.name.startswith("change_by_")}
    assert values["change_by_relation_low"] <= 0 <= values["change_by_relation_high"]
    assert "change_by_feature" not in values


def test_without_estimates_a_failed_check_has_no_cause(snap, manifest, make_rows):
    snapshot = snap(labelled=flipped(make_rows(manifest, 200, seed=2), manifest), estimates_missing=NO_ESTIMATES)

    assert {failed.cause for failed in snapshot.failed_checks} == {None}
    assert "Why performance changed" not in snapshot.html
