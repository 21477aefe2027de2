import pytest

from evidently_workspace.dashboard import MAX_FEATURES, build_dashboard
from evidently_workspace.panels import MAX_DRAWN_RATIO


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


def test_each_feature_has_a_line_of_its_distance(dashboard, manifest):
    panel = next(p for p in dashboard["panels"] if p["title"] == "Drift distance of each feature")
    assert [line["legend"] for line in panel["values"]] == list(manifest.feature_names)


def test_drift_is_shown_in_thresholds_and_the_distances_stay(dashboard, manifest):
    panel = next(p for p in dashboard["panels"] if p["title"] == "Drift of each feature, in thresholds")
    assert [line["metric_labels"] for line in panel["values"]] == [{"column": name} for name in manifest.feature_names]
    assert f"drawn up to {MAX_DRAWN_RATIO:g}" in panel["subtitle"]
    assert "earlier releases do not have it" in panel["subtitle"]
    for title in ("Prediction drift", "Target drift"):
        panel = next(p for p in dashboard["panels"] if p["title"] == title and p["values"])
        assert [line["metric"].rpartition(":")[2] for line in panel["values"]] == ["DriftRatio", "ValueDrift"]


def test_each_class_has_a_line_of_its_f1(dashboard, manifest):
    panel = next(p for p in dashboard["panels"] if p["title"] == "F1 of each class")
    assert [line["metric_labels"] for line in panel["values"]] == [{"label": name} for name in manifest.class_names]


def test_heads_of_what_needs_labels_say_that_labels_arrive_late(dashboard):
    heads = [panel for panel in dashboard["panels"] if "labels that arrived" in panel["title"]]
    assert len(heads) == 3
    assert all("labels that arrived in a window" in head["subtitle"] for head in heads)


def test_a_model_without_categories_has_no_panel_for_new_ones(manifest):
    numbers = manifest.model_copy(update={"features": manifest.features[:2]})
    titles = {panel["title"] for panel in build_dashboard(numbers)["panels"]}
    assert "Share outside the training range" in titles
    assert "Share of categories new since training" not in titles


def test_two_classes_say_whose_precision_is_shown(make_manifest):
    dashboard = build_dashboard(make_manifest(classes=(False, True)))
    panel = next(p for p in dashboard["panels"] if p["title"].startswith("Accuracy, precision"))
    assert "class True" in panel["subtitle"]


def test_half_panels_come_in_pairs_so_that_the_page_has_no_holes(dashboard):
    run = 0
    for panel in dashboard["panels"]:
        if panel["size"] == "half":
            run += 1
        else:
            assert run % 2 == 0, f"a hole before {panel['title']}"
            run = 0
    assert run % 2 == 0


def test_the_head_of_the_attributions_says_in_what_they_are(manifest):
    assert manifest.attributions is not None
    log_odds = manifest.attributions.model_copy(update={"unit": "log odds"})
    for model, unit in (
        (manifest, "in probabilities"),
        (manifest.model_copy(update={"attributions": log_odds}), "in log odds"),
    ):
        head = next(p for p in build_dashboard(model)["panels"] if p["title"].startswith("Attributions"))
        assert unit in head["subtitle"]


def test_a_chart_of_hundreds_of_features_has_lines_for_those_that_matter_most(make_manifest):
    wide = make_manifest(numbers=200)
    means = {name: float(place) for place, name in enumerate(wide.feature_names)}
    wide = wide.model_copy(update={"attributions": wide.attributions.model_copy(update={"mean_absolute": means})})
    panels = {panel["title"]: panel for panel in build_dashboard(wide)["panels"]}
    assert all(len(panel["values"]) <= MAX_FEATURES for panel in panels.values())
    shown = panels["Drift distance of each feature"]
    assert [line["legend"] for line in shown["values"]] == list(reversed(wide.feature_names))[:MAX_FEATURES]
    assert shown["subtitle"].startswith(f"The {MAX_FEATURES} of 202 features that move the predictions most")
    missing = panels["Missing share of each feature"]
    assert missing["values"][0]["legend"] == "member"
