import pytest

from evidently_workspace.checks import CHECKS
from evidently_workspace.dashboard import MAX_LINES, State, build_dashboard
from evidently_workspace.panels import MAX_DRAWN_RATIO, written


@pytest.fixture
def dashboard(manifest):
    return build_dashboard(manifest)


def test_one_tab_holds_every_panel_in_order(dashboard):
    (tab,) = dashboard["tabs"]
    assert tab["panels"] == [panel["id"] for panel in dashboard["panels"]]


def test_ids_are_unique_and_the_same_every_time(dashboard, make_manifest):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert build_dashboard(make_manifest()) == dashboard


def titled(dashboard, title):
    return next(panel for panel in dashboard["panels"] if panel["title"] == title)


def test_it_fits_on_a_screen_or_two(dashboard, regression_manifest):
    assert len(dashboard["panels"]) <= 16
    assert len(build_dashboard(regression_manifest)["panels"]) <= 16


def test_the_first_panel_says_in_words_whether_all_is_well(manifest):
    first = build_dashboard(manifest)["panels"][0]
    assert (first["title"], first["subtitle"]) == ("Is all well?", "No window has been measured yet.")
    state = State("All is well since 1 March 2026, 12:00 UTC: no check failed in 9 windows.")
    renewed = build_dashboard(manifest, state)["panels"][0]
    assert renewed["subtitle"] == state.sentence
    assert renewed["id"] == first["id"]


def test_drift_is_shown_in_thresholds_with_a_line_at_the_alarm(dashboard, manifest):
    panel = titled(dashboard, "Data drift, in thresholds")
    lines = [(line["legend"], line["metric"].rpartition(":")[2]) for line in panel["values"]]
    assert set(lines[:-1]) == {(name, "DriftRatio") for name in manifest.feature_names}
    assert lines[-1] == ("threshold", "Threshold")
    assert f"Drawn up to {MAX_DRAWN_RATIO:g}" in panel["subtitle"]


def test_the_features_that_moved_most_have_a_line_of_many(make_manifest):
    wide = make_manifest(numbers=40)
    moved = ["x39", "gone", "x17"]
    panel = titled(build_dashboard(wide, State("", {"drift": moved})), "Data drift, in thresholds")
    shown = [line["legend"] for line in panel["values"]]
    assert shown[:2] == ["x39", "x17"]
    assert len(shown) == MAX_LINES + 1
    assert f"The {MAX_LINES} of 42 features that moved most" in panel["subtitle"]


def test_failed_checks_are_counted_by_kind(dashboard):
    panel = titled(dashboard, "Failed checks by kind")
    assert [line["metric_labels"] for line in panel["values"]] == [{"check": check.name} for check in CHECKS]


def test_the_estimate_stands_beside_the_truth_and_the_test_set(dashboard):
    panel = titled(dashboard, "Accuracy, true and estimated")
    legends = [line["legend"] for line in panel["values"]]
    assert legends == ["accuracy", "estimated", "estimated, low", "estimated, high", "test set"]
    assert "cannot see concept drift" in panel["subtitle"]


def test_each_class_has_a_line_of_its_f1(dashboard, manifest):
    panel = titled(dashboard, "F1 of each class")
    assert [line["metric_labels"] for line in panel["values"]] == [{"label": name} for name in manifest.class_names]


def test_what_lies_outside_the_training_data_is_one_panel_for_numbers_and_categories(dashboard):
    lines = titled(dashboard, "Values outside the training data")["values"]
    metrics = {line["legend"]: line["metric"].rpartition(":")[2] for line in lines}
    assert metrics == {
        "x0": "OutRangeValueCount",
        "x1": "OutRangeValueCount",
        "colour": "OutListValueCount",
        "member": "OutListValueCount",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(32400.0, "32,400"), (0.5, "0.5"), (12.34567, "12.35"), (0.00001234, "0.0000123"), (-1234567.8, "-1,234,568")],
)
def test_numbers_are_written_as_people_write_them(value, text):
    assert written(value) == text


def test_half_panels_come_in_pairs_so_that_the_page_has_no_holes(dashboard):
    run = 0
    for panel in dashboard["panels"]:
        if panel["size"] == "half":
            run += 1
        else:
            assert run % 2 == 0, f"a hole before {panel['title']}"
            run = 0
    assert run % 2 == 0


def test_the_panel_of_the_attributions_says_in_what_they_are(manifest):
    assert manifest.attributions is not None
    log_odds = manifest.attributions.model_copy(update={"unit": "log odds"})
    for model, unit in (
        (manifest, "in probabilities"),
        (manifest.model_copy(update={"attributions": log_odds}), "in log odds"),
    ):
        head = titled(build_dashboard(model), "What moves the predictions")
        assert unit in head["subtitle"]
