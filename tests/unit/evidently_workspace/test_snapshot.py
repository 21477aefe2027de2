import json
import logging
from pathlib import Path

import evidently
import numpy as np
import pytest

from api.snapshots.reports import (
    SCRIPT_END,
    SCRIPT_START,
    blank_ids,
    read_report,
    split_page,
    write_window_report,
)
from evidently_workspace import snapshot as snapshot_module
from evidently_workspace.panels import MAX_DRAWN_RATIO
from evidently_workspace.results import Mute, RowIds
from model.artifact.traffic import ThresholdOverride, TrafficAlarms, TrafficThreshold

WITHOUT_ANY_SECTION = {"rows", "labelled_rows", "labelled_share", "rejected_requests", "version_rows"}


def values_of(snapshot, name):
    return {value.column: value.value for value in snapshot.values if value.name == name}


def checks_of(snapshot):
    return {(check.check, check.column) for check in snapshot.failed_checks}


def body_of(snapshot):
    return json.loads(snapshot.body)


def failing_tests(snapshot):
    tests = [test for result in body_of(snapshot)["metric_results"].values() for test in result["tests"]]
    return [test for test in tests if test["status"] == "FAIL"]


def points_of(snapshot):
    """Return the parameters under which the UI will store each metric."""
    return {
        json.dumps(result["metric_value_location"]["metric"]["params"], sort_keys=True)
        for result in body_of(snapshot)["metric_results"].values()
    }


@pytest.fixture(scope="module")
def quiet(snap):
    """One snapshot of a window like the reference, for tests that only look at it."""
    return snap()


def test_a_window_like_the_reference_raises_no_alarm(quiet):
    assert quiet.failed_checks == ()
    assert quiet.not_computed == ()
    assert failing_tests(quiet) == []


def test_every_measure_has_a_value(quiet, manifest):
    for name in ("data_drift", "missing_share"):
        assert set(values_of(quiet, name)) == set(manifest.feature_names)
    assert set(values_of(quiet, "out_of_range_share")) == {"x0", "x1"}
    assert set(values_of(quiet, "new_category_share")) == {"colour", "member"}
    assert set(values_of(quiet, "f1_by_class")) == {"a", "b", "c"}
    assert set(values_of(quiet, "data_drift_ratio")) == set(manifest.feature_names)
    names = (
        "prediction_drift_ratio target_drift_ratio "
        "drifted_columns drifted_share prediction_drift target_drift accuracy precision recall f1 roc_auc log_loss "
        "calibration_error concept_gap concept_z expected_error observed_error attribution_ndcg attribution_distance "
        "labelled_share failed_checks duplicated_columns constant_columns duplicated_rows"
    )
    assert set(values_of(quiet, "attribution")) == set(manifest.feature_names)
    assert all(None in values_of(quiet, name) for name in names.split())
    assert values_of(quiet, "rows") == values_of(quiet, "labelled_rows") == {None: 200.0}


def test_shifted_features_are_flagged_and_evidently_agrees(snap, manifest, make_rows):
    shifted = make_rows(manifest, 200, seed=1, shift=2.0)
    drifted = snap(current=shifted)
    assert checks_of(drifted) >= {("data_drift", "x0"), ("data_drift", "x1")}
    assert ("data_drift", "colour") not in checks_of(drifted)
    assert values_of(drifted, "drifted_columns") == {None: 2.0}
    assert len(failing_tests(drifted)) == len(drifted.failed_checks)


def test_a_shift_is_found_in_any_unit(snap, manifest, make_rows):
    def in_moles(frame):
        return frame.assign(x0=frame["x0"] * 1e-7)

    reference, shifted = make_rows(manifest, 200), make_rows(manifest, 200, seed=1, shift=2.0)
    drifted = snap(current=in_moles(shifted), reference=in_moles(reference))
    assert checks_of(drifted) >= {("data_drift", "x0"), ("data_drift", "x1")}
    assert values_of(drifted, "drifted_columns") == {None: 2.0}
    distance = values_of(snap(current=shifted, reference=reference), "data_drift")["x0"]
    assert values_of(drifted, "data_drift")["x0"] == pytest.approx(distance)


def test_a_failed_check_carries_its_value_and_the_threshold_of_its_window(snap, manifest, make_rows):
    drifted = snap(current=make_rows(manifest, 100, seed=1, shift=2.0))
    check = next(check for check in drifted.failed_checks if check.column == "x0")
    assert check.threshold == manifest.threshold("x0").at(100)
    assert check.value == values_of(drifted, "data_drift")["x0"] >= check.threshold


def drawn_ratios(snapshot):
    """Return what the dashboard draws of each column's drift, in thresholds."""
    found = [
        (result["metric_value_location"]["metric"]["params"], result)
        for result in body_of(snapshot)["metric_results"].values()
    ]
    return {params["column"]: one["value"] for params, one in found if params["type"].endswith(":DriftRatio")}


def test_drift_is_drawn_in_thresholds_and_one_broken_column_flattens_no_other(snap, manifest, make_rows):
    broken = make_rows(manifest, 200, seed=1)
    broken["x1"] += 1e6
    snapshot = snap(current=broken)
    ratios, drawn = values_of(snapshot, "data_drift_ratio"), drawn_ratios(snapshot)
    assert set(drawn) == {*manifest.feature_names, "prediction", "label"}
    assert ratios["x0"] == values_of(snapshot, "data_drift")["x0"] / manifest.threshold("x0").at(200) < 1
    assert ratios["x1"] > 1_000
    assert (drawn["x0"], drawn["x1"]) == (ratios["x0"], MAX_DRAWN_RATIO)
    assert drawn["prediction"] == values_of(snapshot, "prediction_drift_ratio")[None]


def test_any_distance_at_all_is_drawn_as_beyond_a_threshold_of_zero(snap, manifest, make_rows):
    changed = {"thresholds": (0.0,) * len(manifest.threshold("x0").thresholds), "floor": 0.0}
    at_zero = tuple(one.model_copy(update=changed) if one.column == "x0" else one for one in manifest.thresholds)
    snapshot = snap(manifest.model_copy(update={"thresholds": at_zero}), current=make_rows(manifest, 200, seed=1))
    assert ("data_drift", "x0") in checks_of(snapshot)
    assert drawn_ratios(snapshot)["x0"] == MAX_DRAWN_RATIO
    assert "x0" not in values_of(snapshot, "data_drift_ratio")


def with_traffic(manifest, *, blocks):
    """The same model with alarms in time on every statistic: known by the hour of the week, or still learned."""
    found = [("data_drift", "x0", 0.2, 90.0), ("prediction_drift", "prediction", 0.3, 90.0)]
    found += [("concept_z", None, 1.25, 90.0), ("accuracy", None, 0.875, 0.01), ("recall_by_class", "a", 0.75, 0.01)]
    found += [("missing_share", "x0", 0.125, 0.9), ("attribution_distance", None, 0.0625, 0.9)]
    thresholds = [
        TrafficThreshold(
            name=name,
            column=column,
            above=limit > usual,
            interval_seconds=300,
            cycle="hour_of_week" if blocks else "none",
            usual=(usual,) * (168 if blocks else 1),
            thresholds=(limit,) * (168 if blocks else 1),
            blocks=blocks,
            windows=blocks,
        )
        for name, column, usual, limit in found
    ]
    alarms = TrafficAlarms(time_zone="Europe/Paris", days=30, false_alarm_days=90, thresholds=tuple(thresholds))
    return manifest.model_copy(update={"traffic": alarms})


def test_the_report_says_what_is_usual_at_this_hour_and_what_was_seen(snap, manifest):
    page = snap(with_traffic(manifest, blocks=30)).html
    at = "on Mondays at 05:00"  # the window starts on a Monday at 04:45 UTC
    for usual in ("0.2000", "0.3000", "+1.25", "0.875", "0.750", "12.5%", "0.0625"):
        assert f"{usual} {at}" in page, usual
    assert "still being learned" not in page
    assert "Usual" not in snap(manifest).html


def test_the_report_says_what_is_still_being_learned(snap, manifest, make_rows):
    learning = with_traffic(manifest, blocks=0)
    page = snap(learning, current=make_rows(manifest, 200, seed=1, shift=2.0)).html
    assert page.count("What is usual in this traffic is still being learned") == 6
    assert '"learning"' in page
    assert "(learning)" in page
    failed = checks_of(snap(learning, current=make_rows(manifest, 200, seed=1, shift=2.0)))
    assert ("data_drift", "x0") not in failed  # which a gross change alone would fail
    assert ("data_drift", "x1") in failed


def test_other_predictions_are_prediction_drift(snap, manifest, make_rows, always):
    assert ("prediction_drift", "prediction") in checks_of(snap(current=always(make_rows(manifest, 200), "a")))


def test_other_labels_are_target_drift(snap, manifest, make_rows):
    rows = make_rows(manifest, 400)
    assert ("target_drift", "label") in checks_of(snap(labelled=rows[rows.label == "a"]))


def test_wrong_predictions_fail_performance_and_evidently_agrees(snap, manifest, make_rows):
    worse = snap(labelled=make_rows(manifest, 200, accuracy=0.5))
    recalls = {("performance", name) for name in manifest.class_names}
    assert checks_of(worse) == {("performance", "accuracy"), ("concept_drift", None)} | recalls
    assert len(failing_tests(worse)) == 2 + len(recalls)
    assert values_of(worse, "accuracy")[None] == pytest.approx(0.5, abs=0.1)


def test_a_class_that_is_no_longer_recognised_fails_by_its_name_and_evidently_agrees(snap, manifest, make_rows):
    rows = make_rows(manifest, 200)
    rows.loc[rows.label == "c", "prediction"] = "a"
    worse = snap(labelled=rows)
    failed = {(check.column, check.measure): check for check in worse.failed_checks if check.check == "performance"}
    assert ("c", "recall") in failed
    assert ("a", "recall") not in failed
    check = failed["c", "recall"]
    assert check.value == values_of(worse, "recall_by_class")["c"] < check.threshold
    assert values_of(worse, "labels_by_class") == {name: (rows.label == name).sum() for name in manifest.class_names}
    assert len(failing_tests(worse)) == len(worse.failed_checks)
    assert f"below {check.threshold:.3f}" in worse.html


def test_accuracy_may_stray_by_chance(snap, manifest, make_rows):
    assert snap(labelled=make_rows(manifest, 60, seed=5, accuracy=0.85)).failed_checks == ()


def test_missing_and_unseen_values_fail_data_quality(snap, manifest, make_rows):
    bad = make_rows(manifest, 200, seed=1)
    bad.loc[:60, "x0"] = None
    bad.loc[:60, "x1"] = 99.0
    bad.loc[:60, "colour"] = "ultraviolet"
    bad.loc[100:160, "colour"] = None
    broken = snap(current=bad)
    measures = {(check.column, check.measure) for check in broken.failed_checks if check.check == "data_quality"}
    assert measures == {("x0", "missing"), ("x1", "out_of_range"), ("colour", "missing"), ("colour", "new_category")}
    assert {("data_quality", name) for name in ("x0", "x1", "colour")} <= checks_of(broken)
    assert values_of(broken, "missing_share")["x0"] == pytest.approx(61 / 200)
    assert values_of(broken, "out_of_range_share")["x1"] == pytest.approx(61 / 200)
    assert values_of(broken, "new_category_share")["colour"] > 61 / 200
    assert "'ultraviolet' (61)" in broken.html
    assert len(failing_tests(broken)) == len(broken.failed_checks)


def test_too_few_rows_give_no_values_and_no_alarm(snap, manifest, make_rows):
    few = snap(
        current=make_rows(manifest, 5, shift=9.0), labelled=make_rows(manifest, 5, accuracy=0.0), attributions=None
    )
    assert few.failed_checks == ()
    assert {value.name for value in few.values} == WITHOUT_ANY_SECTION
    assert [reason.split(" (")[0] for reason in few.not_computed] == [
        "data drift: not enough data",
        "prediction drift: not enough data",
        "attributions: no row was explained",
        "data quality: not enough data",
        "target drift: not enough data",
        "concept drift: not enough data",
        "performance: not enough data",
    ]
    assert "not enough data" in few.html


def test_labels_alone_are_enough_for_what_needs_labels(snap, manifest, make_rows):
    only_labels = snap(current=make_rows(manifest, 0))
    assert "accuracy" in {value.name for value in only_labels.values}
    assert values_of(only_labels, "rows") == {None: 0.0}


def test_five_rows_can_be_measured_where_the_settings_allow_it(snap, manifest, make_rows):
    rows = make_rows(manifest, 5)
    tiny = snap(current=rows, labelled=rows, min_rows=1, min_labels=1)
    assert "accuracy" in {value.name for value in tiny.values}
    assert set(values_of(tiny, "data_drift")) == set(manifest.feature_names)


def test_an_empty_window_still_gives_a_snapshot(snap, manifest, make_rows):
    nothing = make_rows(manifest, 0)
    empty = snap(current=nothing, labelled=nothing, min_rows=0, min_labels=0, attributions=np.empty((0, 4)))
    assert {value.name for value in empty.values} == WITHOUT_ANY_SECTION - {"labelled_share"}


def test_an_empty_column_is_named_and_costs_no_other(snap, manifest, make_rows):
    for nothing in (None, np.nan):
        rows = make_rows(manifest, 200, seed=1).assign(x0=nothing, colour=None)
        odd = snap(current=rows)
        assert set(values_of(odd, "data_drift")) == {"x1", "member"}
        assert values_of(odd, "missing_share") == {"x0": 1.0, "x1": 0.0, "colour": 1.0, "member": 0.0}
        assert {("data_quality", "x0"), ("data_quality", "colour")} == checks_of(odd)
        assert any(reason.startswith("data drift: x0: not enough data") for reason in odd.not_computed)


def test_a_column_that_the_rows_lack_counts_as_missing(snap, manifest, make_rows):
    without = snap(current=make_rows(manifest, 200, seed=1).drop(columns="x1"))
    assert values_of(without, "missing_share")["x1"] == 1.0


def test_text_where_a_number_belongs_counts_as_missing(snap, manifest, make_rows):
    rows = make_rows(manifest, 200, seed=1).astype({"x1": object})
    rows.loc[:99, "x1"] = "unknown"
    assert values_of(snap(current=rows), "missing_share")["x1"] == 0.5


def test_a_column_without_a_calibrated_threshold_is_named_and_costs_no_other(snap, manifest):
    partial = snap(manifest.model_copy(update={"thresholds": manifest.thresholds[1:]}))
    assert set(values_of(partial, "data_drift")) == set(manifest.feature_names[1:])
    assert partial.not_computed == ("data drift: x0: training calibrated no threshold for it",)


def test_a_constant_column_is_measured(snap, manifest, make_rows):
    constant = snap(current=make_rows(manifest, 200, seed=1).assign(x0=0.0, colour="red"))
    assert {("data_drift", "x0"), ("data_drift", "colour")} <= checks_of(constant)
    assert values_of(constant, "constant_columns") == {None: 2.0}


@pytest.mark.parametrize("classes", [("a", "b", "c"), (False, True), (0, 1), ("no", "yes")])
def test_a_window_with_one_class_is_scored_as_far_as_scores_are_defined(
    snap, make_manifest, make_rows, always, classes
):
    model = make_manifest(classes=classes)
    for name in model.class_names[0], model.class_names[-1]:
        rows = make_rows(model, 400)
        one_class = snap(model, labelled=always(rows[rows.label == name], name))
        assert values_of(one_class, "accuracy") == {None: 1.0}
        assert values_of(one_class, "f1_by_class") == {name: 1.0}
        assert "roc_auc" not in {value.name for value in one_class.values}
        assert one_class.not_computed == ("performance: roc_auc: not defined for the labels of this window",)


@pytest.mark.parametrize("classes", [(False, True), (0, 1), ("no", "yes")])
def test_of_two_classes_the_last_is_the_positive_one(snap, make_manifest, make_rows, classes):
    model = make_manifest(classes=classes)
    scored = snap(model, labelled=make_rows(model, 200))
    positive = model.class_names[-1]
    assert values_of(scored, "f1")[None] == values_of(scored, "f1_by_class")[positive]
    assert values_of(scored, "roc_auc")[None] > 0.8


@pytest.mark.parametrize(
    "classes",
    [
        ("accuracy", "other"),
        ("macro avg", "weighted avg", "accuracy"),
        ("micro avg", "samples avg", "plain"),
        ("actual class", "predicted class"),
    ],
)
def test_classes_may_have_any_name_and_keep_it_on_the_page(snap, make_manifest, make_rows, classes):
    model = make_manifest(classes=classes)
    scored = snap(model, labelled=make_rows(model, 400))
    assert scored.not_computed == ()
    assert 0.8 < values_of(scored, "accuracy")[None] < 1
    assert set(values_of(scored, "f1_by_class")) == set(classes)
    body = body_of(scored)
    for result in body["metric_results"].values():
        for test in result["tests"]:  # how a test was set up is not shown
            test["metric_config"] = test["bound_test"] = test["test_config"] = None
    shown = [split_page(scored.html)[2], json.dumps(body)]  # without Evidently's own script
    assert not any(mark in text for text in shown for mark in ("\u200b", "\\u200b"))
    stored = {label for result in body_of(scored)["metric_results"].values() for label in result.get("values", {})}
    assert set(classes) <= stored


def test_a_class_without_labels_has_no_recall_rather_than_zero(snap, manifest, make_rows):
    rows = make_rows(manifest, 200)
    partial = snap(labelled=rows[rows.label != "c"])
    assert set(values_of(partial, "recall_by_class")) == {"a", "b"}


def test_a_section_that_fails_costs_no_other(snap, monkeypatch, caplog, window):
    def broken(*_):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(snapshot_module, "classification_performance", broken)
    with caplog.at_level(logging.ERROR):
        partial = snap()
    assert partial.not_computed == ("performance: failed with RuntimeError: the disk is on fire",)
    assert "data_drift" in {value.name for value in partial.values}
    assert "the disk is on fire" in partial.html
    assert "the disk is on fire" in body_of(partial)["metadata"]["not_computed"]
    assert window.key in caplog.text


def test_equal_distributions_have_distance_zero_and_pass_the_test(snap, manifest, make_rows):
    reference = make_rows(manifest, 180, seed=3)
    equal = snap(current=reference, labelled=reference)
    assert values_of(equal, "prediction_drift") == {None: 0.0}
    assert values_of(equal, "target_drift") == {None: 0.0}
    assert equal.failed_checks == ()
    assert failing_tests(equal) == []


def test_points_keep_their_names_when_the_number_of_rows_changes(snap, manifest, make_rows):
    # Evidently would start a new line for every threshold, and the threshold depends on the rows.
    few, many = snap(current=make_rows(manifest, 60)), snap(current=make_rows(manifest, 300))
    assert points_of(few) == points_of(many)
    assert set(body_of(few)["metric_results"]) == set(body_of(many)["metric_results"])


def test_metadata_says_what_the_snapshot_is_of_in_strings_only(snap, manifest, make_rows, window):
    body = body_of(
        snap(current=make_rows(manifest, 100, shift=2.0), sampled_fraction=0.25, rejected_requests={"missing": 2})
    )
    assert body["metadata"] == {
        "window": window.key,
        "model_version": manifest.version,
        "rows": "100",
        "labelled_rows": "200",
        "sampled_fraction": "0.25",
        "rows_of_other_versions": "0",
        "labels_of_other_versions": "0",
        "not_computed": "",
        "rejected_requests": "missing: 2",
    } | {"failed_checks": body["metadata"]["failed_checks"]}
    assert "data_drift:x0, data_drift:x1" in body["metadata"]["failed_checks"]
    assert body["name"] == "2026-11-23 04:45 to 04:50 UTC"
    assert body["tags"] == [manifest.name, manifest.version]


def test_the_timestamp_is_naive(quiet):
    assert body_of(quiet)["timestamp"] == "2026-11-23T04:50:00"


def test_a_sample_says_so_on_the_page(snap):
    assert "sample of 25.0% of the window" in snap(sampled_fraction=0.25).html


def test_the_body_is_small_and_strict_json(quiet):
    assert len(quiet.body) < 150_000
    assert b'"template"' not in quiet.body
    json.loads(quiet.body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_the_page_needs_no_other_file(quiet):
    page = quiet.html
    assert 'src="http' not in page
    assert 'href="http' not in page.split("<script>", maxsplit=1)[0]


def test_evidently_s_script_is_found_in_its_page_whatever_was_sent(snap, manifest, make_rows):
    """If this fails after an upgrade of Evidently, look at its page and correct `split_page`: reports became large."""
    rows = make_rows(manifest, 200, seed=1)
    rows.loc[:49, "colour"] = SCRIPT_START
    rows.loc[50:99, "colour"] = SCRIPT_END
    page = snap(current=rows).html
    parts = split_page(page)
    assert parts is not None
    before, script, after = parts
    assert script == (Path(evidently.__path__[0]) / "nbextension/static/index.js").read_text(encoding="utf-8")
    assert f"{before}<script>{script}</script>{after}" == page
    assert len(before) + len(after) < len(script) / 4
    assert "drawDashboard" in after
    assert len(after) < 1000


def test_the_frames_that_came_in_are_left_as_they_were(snap, manifest, make_rows):
    rows = make_rows(manifest, 60)
    before = rows.copy()
    snap(current=rows, labelled=rows)
    assert rows.equals(before)


def test_rows_of_other_versions_are_reported_and_each_version_has_its_line(snap, manifest):
    version = manifest.version
    mixed = snap(rows_by_version={"older": 70, version: 200}, other_labels=3)
    assert values_of(mixed, "version_rows") == {"older": 70.0, version: 200.0}
    assert values_of(mixed, "version_failed_checks") == {version: 0.0}
    assert values_of(mixed, "version_accuracy") == {version: values_of(mixed, "accuracy")[None]}
    metadata = body_of(mixed)["metadata"]
    assert (metadata["rows_of_other_versions"], metadata["labels_of_other_versions"]) == ("70", "3")
    assert "70 rows of the window, and 3 labels that arrived in it" in mixed.html
    assert body_of(mixed)["tags"] == [manifest.name, version]


def test_a_window_of_one_version_says_nothing_of_others(quiet):
    assert "other versions of the model" not in quiet.html


@pytest.mark.parametrize("missing", ["", None])
def test_an_empty_category_is_missing_as_it_is_for_the_model(snap, manifest, make_rows, missing):
    rows = make_rows(manifest, 200)
    rows["colour"] = missing
    taken = snap(current=rows)
    assert values_of(taken, "missing_share")["colour"] == 1.0
    assert {check.measure for check in taken.failed_checks if check.column == "colour" and check.measure} == {"missing"}


def with_long_colours(rows, names):
    return rows.assign(colour=rows["colour"].map(names))


def test_texts_that_begin_alike_are_compared_whole_and_shortened_in_figures_only(snap, manifest, make_rows):
    start = "Manufacture of basic iron and steel and of "
    names = {"blue": f"{start}ferro-alloys", "green": f"{start}tubes and pipes", "red": "Retail"}
    colour = next(feature for feature in manifest.features if feature.name == "colour")
    features = [
        one.model_copy(update={"categories": tuple(names.values()), "example": "Retail"}) if one is colour else one
        for one in manifest.features
    ]
    model = manifest.model_copy(update={"features": tuple(features)})
    rows = [with_long_colours(make_rows(manifest, count, seed=seed), names) for count, seed in ((200, 1), (180, 3))]
    quiet = snap(model, rows[0], with_long_colours(make_rows(manifest, 200, seed=2), names), reference=rows[1])
    assert quiet.failed_checks == ()
    short = snap(manifest, make_rows(manifest, 200, seed=1), reference=make_rows(manifest, 180, seed=3))
    assert values_of(quiet, "data_drift")["colour"] == pytest.approx(values_of(short, "data_drift")["colour"])
    moved = rows[0].assign(colour=names["green"])
    loud = snap(model, moved, with_long_colours(make_rows(manifest, 200, seed=2), names), reference=rows[1])
    assert ("data_drift", "colour") in checks_of(loud), "the two long texts are two values"


@pytest.mark.parametrize(
    "classes",
    [
        ("accuracy", "macro avg", "weighted avg"),
        ("actual class", "predicted class"),
        ("micro avg", "samples avg", "b"),
        ("accuracy", "x"),
    ],
)
def test_classes_named_like_rows_of_a_report_are_measured(snap, make_manifest, make_rows, classes):
    model = make_manifest(classes)
    quiet = snap(model)
    assert (quiet.not_computed, quiet.failed_checks) == ((), ())
    assert set(values_of(quiet, "recall_by_class")) == set(classes)
    assert values_of(quiet, "accuracy")[None] == pytest.approx(0.9, abs=0.07)
    labelled = make_rows(model, 200, seed=2)
    wrong = snap(
        model, labelled=labelled.assign(prediction=labelled["label"].map(lambda one: classes[one == classes[0]]))
    )
    assert {("performance", name) for name in classes[:2]} <= checks_of(wrong)


def test_the_report_says_the_next_step_of_each_failed_check_once(snap, make_rows, manifest):
    moved = make_rows(manifest, 200, seed=4)
    moved[["x0", "x1"]] += 3.0
    snapshot = snap(manifest, moved, next_step=lambda failed: f"ask about {failed.check} of {failed.column}")
    columns = [failed.column for failed in snapshot.failed_checks if failed.check == "data_drift"]
    assert len(columns) > 1
    assert snapshot.html.count(f"ask about data_drift of {columns[0]}") == 1
    assert f"ask about data_drift of {columns[1]}" not in snapshot.html


def test_a_muted_check_is_listed_in_the_report_and_does_not_count_as_failed(snap, make_rows, manifest):
    moved = make_rows(manifest, 200, seed=4)
    moved[["x0", "x1"]] += 3.0

    def mute_of(failed):
        return Mute("2026-12-01 00:00 UTC", "the sensor is replaced") if failed.column == "x0" else None

    plain, muted = snap(manifest, moved), snap(manifest, moved, mute_of=mute_of)
    about = [failed for failed in plain.failed_checks if failed.column == "x0"]
    assert about
    assert set(muted.failed_checks) == set(plain.failed_checks) - set(about)
    assert [one.failed for one in muted.muted_checks] == about
    assert values_of(muted, "failed_checks")[None] == values_of(plain, "failed_checks")[None] - len(about)
    assert "the sensor is replaced" in muted.html


def test_a_threshold_set_by_hand_decides_alone_and_the_report_says_so(snap, make_rows, manifest):
    moved = make_rows(manifest, 200, seed=4)
    moved["x0"] += 3.0
    distance = values_of(snap(manifest, moved), "data_drift")["x0"]
    for factor, fails in ((0.99, True), (1.01, False)):
        override = ThresholdOverride("data_drift", "x0", distance * factor)
        snapshot = snap(manifest.model_copy(update={"overrides": (override,)}), moved)
        found = [failed.threshold for failed in snapshot.failed_checks if failed.check == "data_drift"]
        assert found == ([distance * factor] if fails else [])
        assert "Thresholds set by hand" in snapshot.html


def test_the_rows_that_carry_what_failed_are_named_by_their_ids(snap, manifest, make_rows):
    current = make_rows(manifest, 200, seed=1)
    current.loc[:60, "x0"] += 9.0
    ids = [f"id-{place}" for place in range(200)]
    found = snap(current=current, ids=RowIds(ids, ids)).changed_rows
    drifted = next(one for one in found if (one.check, one.column) == ("data_drift", "x0"))
    assert {row for row, _ in drifted.rows[:61]} == set(ids[:61])
    assert drifted.rows[0][1] == pytest.approx(1.0, abs=1e-5)
    assert {one.check for one in found} >= {"data_drift", "data_quality"}


def test_the_report_lists_them_below_the_failed_checks(snap, manifest, make_rows):
    current = make_rows(manifest, 200, seed=1, shift=2.0)
    ids = [f"id-{place}" for place in range(200)]
    snapshot = snap(current=current, ids=RowIds(ids, ids))
    titles = [widget.get("title") or widget["params"].get("text", "") for widget in body_of(snapshot)["widgets"]]
    assert titles.index("Rows") > titles.index("Failed checks")
    assert any(snapshot.changed_rows[0].rows[0][0] in str(widget) for widget in body_of(snapshot)["widgets"])


def test_an_erased_id_goes_from_the_list_of_a_report_and_nothing_else_does(snap, manifest, make_rows, tmp_path):
    current = make_rows(manifest, 200, seed=1, shift=2.0)
    ids = ["data_drift", *(f"id-{place}" for place in range(199))]  # one that the page has at other places too
    current.loc[0, "x0"] += 9.0
    snapshot = snap(current=current, ids=RowIds(ids, ids))
    named = {row for one in snapshot.changed_rows for row, _ in one.rows[:2]}
    assert "data_drift" in named
    kept = next(one for one in named if one != "data_drift")
    write_window_report(tmp_path, "day/report.html", snapshot.html)
    before = read_report(tmp_path / "day/report.html").decode()
    blank_ids(tmp_path, "day/report.html", {"data_drift"})
    after = read_report(tmp_path / "day/report.html").decode()
    assert before == snapshot.html
    assert f'"{kept}"' in after
    assert '"", "data_drift", "' in before
    assert '"", "data_drift", "' not in after
    assert '"", "erased", "' in after
    assert len(after) == len(before) - (len("data_drift") - len("erased")) * after.count('"erased", "')
    assert after.count('"data_drift"') == before.count('"data_drift"') - after.count('"erased", "')
    blank_ids(tmp_path, "day/report.html", {"data_drift"})
    assert read_report(tmp_path / "day/report.html").decode() == after
    blank_ids(tmp_path, "day/removed.html", {"data_drift"})


def test_a_quiet_window_names_no_rows(snap):
    ids = [f"id-{place}" for place in range(200)]
    quiet = snap(ids=RowIds(ids, ids))
    assert quiet.changed_rows == ()
    assert "Rows that carry the changes" not in quiet.html
