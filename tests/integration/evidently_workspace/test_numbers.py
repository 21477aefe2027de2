"""A model of numbers before a real Evidently UI: quiet windows, moved inputs, labels that follow otherwise."""

import json

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import build_dashboard
from model.artifact.manifest import LABEL, PREDICTION
from model.artifact.store import read_estimates, read_manifest, read_reference
from model.explain.explainer import load_explainer
from tests.integration.evidently_workspace.test_pages import address
from tests.integration.evidently_workspace.test_workspace import points

QUIET = 3
ROWS = 150
REFUSED = {"missing": 1}


@pytest.fixture(scope="module")
def numbers(diabetes_artifact):
    return read_manifest(diabetes_artifact)


@pytest.fixture(scope="module")
def story(diabetes_artifact, numbers, windows):
    """Snapshots by what was done to their rows: nothing, inputs moved, labels moved, labels spread twice as far."""
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    reference, explainer = read_reference(diabetes_artifact), load_explainer(diabetes_artifact)
    estimates = read_estimates(diabetes_artifact)

    def drawn(n, rows=reference):
        return rows.sample(ROWS, replace=True, random_state=n)

    def take(n, rows):
        return take_snapshot(
            windows(n),
            rows,
            rows,
            reference,
            numbers,
            min_rows=30,
            min_labels=30,
            attributions=explainer.attributions(rows.head(100)),
            rejected_requests=REFUSED,
            estimates=estimates,
        )

    deviation = numbers.label_range.standard_deviation
    taken = {f"quiet {n}": take(n, drawn(n)) for n in range(QUIET)}
    taken["inputs"] = take(QUIET, drawn(QUIET, reference.nlargest(50, "s5")))
    shifted, wider = drawn(QUIET + 1), drawn(QUIET + 2)
    taken["bias"] = take(QUIET + 1, shifted.assign(**{LABEL: shifted[LABEL] + 0.6 * deviation}))
    far = wider[LABEL] + 2 * (wider[LABEL] - wider[PREDICTION])
    taken["size"] = take(QUIET + 2, wider.assign(**{LABEL: far}))
    return taken


@pytest.fixture(scope="module")
def project(ui, numbers, story):
    """Return the project with all windows, the addresses of the dashboard and of the last report."""
    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project(numbers.name, "Quiet, then labels that follow otherwise")
        client.ensure_dashboard(project, build_dashboard(numbers))
        posted = [client.post_snapshot(project, snapshot.body) for snapshot in story.values()]
        return project, address(ui, project), address(ui, project, posted[-1])


def failed(snapshot):
    return {(check.check, check.measure) for check in snapshot.failed_checks}


def test_each_trouble_is_found_under_its_own_name(story):
    for n in range(QUIET):
        assert story[f"quiet {n}"].failed_checks == ()
        assert story[f"quiet {n}"].not_computed == ()
    assert {("data_drift", None), ("prediction_drift", None)} <= failed(story["inputs"])
    assert "concept_drift" not in {check for check, _ in failed(story["inputs"])}
    assert ("concept_drift", "bias_z") in failed(story["bias"])
    assert {("concept_drift", "size_z"), ("performance", "mean_absolute_error")} <= failed(story["size"])
    assert not {check for check, _ in failed(story["bias"]) | failed(story["size"])} & {
        "data_drift",
        "prediction_drift",
        "data_quality",
    }


def test_every_line_of_every_panel_has_its_points(ui, project, numbers, story):
    shown = [panel for panel in build_dashboard(numbers)["panels"] if panel["values"]]
    titles = {panel["title"] for panel in shown}
    assert {"Predicted numbers", "Mean absolute error, true and estimated", "Mean error (bias)"} <= titles
    for panel in shown:
        for legend, lines in points(ui, project[0], panel).items():
            assert lines, (panel["title"], legend)
            # the lines of refused requests are as many as there were reasons, and one for all of them
            assert len(lines) == (2 if panel["title"] == "Rejected requests" else 1), (panel["title"], legend)
            for line in lines:
                assert len([value for value in line if value is not None]) == len(story), (panel["title"], legend)


def test_the_charts_have_the_numbers_of_the_snapshots(ui, project, numbers, story):
    by_title = {panel["title"]: panel for panel in build_dashboard(numbers)["panels"]}
    (errors,) = points(ui, project[0], by_title["Mean absolute error, true and estimated"])["mean absolute error"]
    measured = [
        next(value.value for value in snapshot.values if value.name == "mean_absolute_error")
        for snapshot in story.values()
    ]
    assert errors == pytest.approx(measured)


def test_a_classifier_that_takes_the_project_over_gets_its_own_panels(ui, story, numbers, manifest, snap):
    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("taken over", "Numbers first, then classes")
        client.ensure_dashboard(project, build_dashboard(numbers))
        client.post_snapshot(project, story["quiet 0"].body)
        assert client.ensure_dashboard(project, build_dashboard(manifest)) is True
        client.post_snapshot(project, snap(20, 60).body)
    panels = {panel["title"]: panel for panel in build_dashboard(manifest)["panels"]}
    (accuracy,) = points(ui, project, panels["Accuracy, true and estimated"])["accuracy"]
    (rows,) = points(ui, project, panels["Rows per window"])["predicted rows"]
    assert [value for value in accuracy if value is not None] == accuracy[-1:], "the first window had no classes"
    assert rows == [ROWS, 60]
    (observed,) = points(ui, project, panels["Observed and expected errors"])["observed error"]
    assert [value for value in observed if value is not None] == observed[-1:]
    with httpx.Client(base_url=ui.url) as http:
        stored = http.get(f"/api/projects/{project}/snapshots").json()
    assert {json.dumps(one["tags"]) for one in stored} == {
        json.dumps([model.name, model.version]) for model in (numbers, manifest)
    }


@pytest.mark.browser
def test_the_dashboard_and_a_report_are_drawn(project, numbers, artefacts):
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(project[1])
        for panel in build_dashboard(numbers)["panels"]:
            expect(page.get_by_text(panel["title"], exact=True).first).to_be_visible(timeout=60_000)
        charts = [one for one in build_dashboard(numbers)["panels"] if one["plot_params"]["plot_type"] == "line"]
        drawn = sum(len(panel["values"]) for panel in charts) + len(REFUSED)
        expect(page.locator(".MuiLineElement-root")).to_have_count(drawn, timeout=60_000)
        page.screenshot(path=artefacts / "evidently-numbers-dashboard.png", full_page=True)
        page.goto(project[2])
        for title in ("Prediction drift", "Concept drift", "Performance"):
            expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=60_000)
        expect(page.get_by_text("Predicted beside actual numbers")).to_be_visible()
        expect(page.get_by_text("By the number predicted")).to_be_visible()
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=60_000)
        page.screenshot(path=artefacts / "evidently-numbers-report.png", full_page=True)
        chromium.close()
    assert complaints == []
