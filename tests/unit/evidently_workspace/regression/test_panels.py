from evidently_workspace.dashboard import build_dashboard
from model.artifact.manifest import RegressorManifest


def panels_of(manifest: RegressorManifest) -> dict[str, dict]:
    return {panel["title"]: panel for panel in build_dashboard(manifest)["panels"]}


def lines_of(manifest):
    return {
        (line["metric"], tuple(line["metric_labels"].items()))
        for panel in build_dashboard(manifest)["panels"]
        for line in panel["values"]
    }


def test_ids_are_unique_and_the_same_every_time(regression_manifest, make_regression_manifest):
    dashboard = build_dashboard(regression_manifest)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert build_dashboard(make_regression_manifest()) == dashboard


def test_numbers_have_errors_where_classes_have_shares_and_accuracy(regression_manifest, manifest):
    of_numbers, of_classes = set(panels_of(regression_manifest)), set(panels_of(manifest))
    assert {
        "Predicted numbers",
        "Mean absolute error, true and estimated",
        "Mean error (bias)",
    } <= of_numbers - of_classes
    assert {"Predicted classes", "Accuracy, true and estimated", "F1 of each class"} <= of_classes - of_numbers
    assert {"Data drift, in thresholds", "Is all well?", "Failed checks by kind"} <= of_numbers & of_classes


def test_error_rates_and_errors_in_a_unit_never_share_a_line(regression_manifest, manifest):
    """The project may go on under a model of the other kind: its charts would then join two scales."""
    shared = {metric for metric, _ in lines_of(regression_manifest) & lines_of(manifest)}
    assert not any(name in metric for metric in shared for name in ("Concept", "Accuracy", "MAE", "Error", "Score"))


def test_what_training_knew_is_beside_what_windows_show(regression_manifest):
    panels = panels_of(regression_manifest)
    assert "On the test set: 15.96" in panels["Mean absolute error, true and estimated"]["subtitle"]
    assert "from 20 to 320" in panels["Predicted numbers"]["subtitle"]
    assert "in EUR" in panels["Predicted numbers"]["subtitle"]
    assert "in the unit of the target" in panels["What moves the predictions"]["subtitle"]


def test_half_panels_come_in_pairs_so_that_the_page_has_no_holes(regression_manifest):
    run = 0
    for panel in build_dashboard(regression_manifest)["panels"]:
        if panel["size"] == "half":
            run += 1
        else:
            assert run % 2 == 0, f"a hole before {panel['title']}"
            run = 0
    assert run % 2 == 0
