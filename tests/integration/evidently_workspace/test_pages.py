"""What a person sees: the dashboard and a report, in a real browser. Screenshots stay in test-artefacts/."""

import json
import re

import pytest
from playwright.sync_api import expect, sync_playwright

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import MAX_LINES, build_dashboard
from evidently_workspace.panels import dashboard, line_panel, series

pytestmark = pytest.mark.browser

STEADY, DRIFTED = 6, 3
REASONS = ["missing", "json_invalid"]
SECTIONS = (
    "Data drift",
    "Prediction drift",
    "Attributions",
    "Data quality",
    "Target drift",
    "Concept drift",
    "Performance",
    "Rejected requests",
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that fails its test when the browser complains."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def address(ui, project, snapshot=None):
    """Return where people find a project, or one of its snapshots."""
    page = f"{ui.url}/projects/{project}"
    return page if snapshot is None else f"{page}/reports/{snapshot}"


@pytest.fixture(scope="module")
def story(ui, manifest, snap, windows):
    """A project that was steady and then drifted; returns its address and that of the last report."""
    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("iris story", "Steady, then longer flowers")
        client.ensure_dashboard(project, build_dashboard(manifest))
        for n in range(STEADY + DRIFTED):
            refused = {"missing": n % 3, "json_invalid": 2 * (n >= STEADY)}
            shift = 0.0 if n < STEADY else 1.5
            taken = snap(n, 100 + 10 * n, shift=shift, labelled=80 + n, rejected_requests=refused)
            assert bool(taken.failed_checks) == (n >= STEADY), taken.failed_checks
            last = client.post_snapshot(project, taken.body)
        return address(ui, project), address(ui, project, last)


def test_the_dashboard_shows_every_panel_with_its_lines(page, story, manifest, artefacts):
    page.goto(story[0])
    panels = build_dashboard(manifest)["panels"]
    for panel in panels:
        expect(page.get_by_text(panel["title"], exact=True).first).to_be_visible(timeout=30_000)
    lines = [line for panel in panels if panel["plot_params"]["plot_type"] == "line" for line in panel["values"]]
    # The lines of refused requests are as many as there were reasons, and a line for all of them.
    lines += REASONS
    expect(page.locator(".MuiLineElement-root")).to_have_count(len(lines), timeout=30_000)
    page.screenshot(path=artefacts / "evidently-dashboard.png", full_page=True)


def test_the_names_of_as_many_lines_as_a_panel_may_have_are_seen_at_once(page, ui, manifest, snap):
    kinds = {
        "DriftRatio": {},
        "MissingValueCount": {"value_type": "share"},
        "OutRangeValueCount": {"value_type": "share"},
    }
    lines = [
        series(f"{name} {kind}", kind, column=name, **labels)
        for kind, labels in kinds.items()
        for name in manifest.feature_names
    ]
    lines.append(series("threshold", "Threshold"))
    assert len(lines) == MAX_LINES + 1
    panels = [line_panel("Half", None, lines), line_panel("Other half", None, lines), line_panel("Full", None, lines)]
    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("many lines", "Thirteen lines in a panel")
        client.ensure_dashboard(project, dashboard("Many", panels))
        client.post_snapshot(project, snap(0, 100, labelled=80).body)
        page.goto(address(ui, project))
    legends = page.locator(".MuiChartsLegend-root")
    expect(legends).to_have_count(len(panels), timeout=30_000)
    for place in range(len(panels)):
        expect(legends.nth(place).get_by_role("listitem")).to_have_count(len(lines), timeout=30_000)
        whole, seen = legends.nth(place).evaluate("one => [one.scrollHeight, one.clientHeight]")
        assert whole <= seen


def test_a_counter_of_nothing_reads_0(page, ui, manifest, snap):
    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("quiet", "One steady window")
        client.ensure_dashboard(project, build_dashboard(manifest))
        taken = snap(0, 100, labelled=80)
        assert not taken.failed_checks
        client.post_snapshot(project, taken.body)
        page.goto(address(ui, project))
    counters = page.locator(".MuiCard-root").filter(has_text="Newest window")
    for name in ("failed checks",):
        expect(counters.get_by_text(name)).to_be_visible(timeout=30_000)
    expect(page.locator(".MuiMarkElement-root").first).to_be_visible()  # a line of one point is its mark
    assert page.get_by_text("no value").count() == 0


def test_a_report_opens_in_the_ui(page, story, artefacts):
    page.goto(story[1])
    for title in SECTIONS:
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("4 of 4 columns drifted")).to_be_visible()
    page.screenshot(path=artefacts / "evidently-report.png", full_page=True)


def test_the_html_file_opens_without_a_network_and_unfolds_a_column(browser, snap, tmp_path, artefacts):
    file = tmp_path / "report.html"
    file.write_text(snap(7, 200, shift=1.5).html, encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    expect(page.get_by_text("4 of 4 columns drifted")).to_be_visible(timeout=30_000)
    page.get_by_role("row", name=re.compile("petal_width drifted")).get_by_role("button").click()
    expect(page.get_by_text("DATA DISTRIBUTION").first).to_be_visible()
    page.wait_for_timeout(1_000)
    page.screenshot(path=artefacts / "evidently-html-report.png", full_page=True)
    context.close()
    assert [url for url in asked if url.startswith("http")] == []


def test_an_old_snapshot_says_that_its_figures_are_gone_and_shows_its_values(page, ui, story, snap, artefacts):
    from evidently_workspace.ui.maintenance import without_figures  # noqa: PLC0415 - takes seconds

    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("iris story", "Steady, then longer flowers")
        stripped = without_figures(json.loads(snap(STEADY + DRIFTED, 200, shift=1.5).body))
        page.goto(address(ui, project, client.post_snapshot(project, json.dumps(stripped).encode())))
    expect(page.get_by_text("figures of this snapshot have been removed")).to_be_visible(timeout=30_000)
    for title in SECTIONS:
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    page.get_by_role("row", name=re.compile("petal_width drifted")).get_by_role("button").click()
    expect(page.get_by_text("4 of 4 columns drifted")).to_be_visible()
    page.screenshot(path=artefacts / "evidently-old-report.png", full_page=True)
