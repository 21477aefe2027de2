"""What a person does and sees, in a real Chromium; the screenshots are kept under test-artefacts/."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright
from rich.console import Console

from model.artifact.store import read_reference, read_test
from scripts import screenshots
from scripts.doctor import NO_CHROMIUM, find_program
from scripts.stack.config import StackConfig
from scripts.stack.stack import Stack
from tests.integration.api.conftest import Caller
from tests.servers import free_port

CHROMIUM = find_program()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]


ROOT = Path(__file__).parents[2]
LINE_PANELS = {
    "Rows per window",
    "Failed checks by kind",
    "Data drift, in thresholds",
    "Prediction and target drift, in thresholds",
    "Missing values",
    "Accuracy, true and estimated",
    "F1 of each class",
    "What moves the predictions",
}

POINTS_OF_PANELS = """() => [...document.querySelectorAll('.MuiCard-root')]
    .filter(card => card.querySelector('.MuiLineElement-root'))
    .map(card => {
        const points = {};
        for (const mark of card.querySelectorAll('.MuiMarkElement-root')) {
            const series = [...mark.classList].find(name => name.includes('series'));
            points[series] = (points[series] || 0) + 1;
        }
        return {
            title: card.querySelector('h5').textContent,
            series: card.querySelectorAll('.MuiLineElement-root').length,
            points: Object.values(points),
        };
    })"""


@pytest.fixture(scope="module")
def stack(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with three windows: two steady ones and a drifted one."""
    config = StackConfig(
        data_dir=tmp_path_factory.mktemp("stack"),
        model_dir=iris_artifact,
        api_port=free_port(),
        ui_port=free_port(),
        interval_seconds=86_400,
        inherited={"VIGIE_HEARTBEAT_SECONDS": "1", "PATH": "/usr/bin:/bin"},
    )
    pool = pd.concat([read_test(iris_artifact), read_reference(iris_artifact)], ignore_index=True)
    with Stack(config, Console(quiet=True)) as stack:
        caller = Caller(stack.config.api_url, pool)
        with closing(caller.http):
            for seed, shift in enumerate((0.0, 0.0, 2.0)):
                caller.send(200, seed=seed, shift=shift)
                assert caller.snapshot()["status"] == "posted"
        yield stack


@pytest.fixture(scope="module")
def elsewhere() -> list[str]:
    """Every address outside this machine that a page asked for."""
    return []


@pytest.fixture
def page(elsewhere: list[str]) -> Iterator[Page]:
    def keep_inside(route: Route) -> None:
        if re.match(r"https?://(127\.0\.0\.1|localhost)[:/]", route.request.url) or route.request.url.startswith(
            ("data:", "file:")
        ):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.route("**/*", keep_inside)
        yield page
        browser.close()


def test_a_prediction_by_hand_in_swagger_ui(stack: Stack, page: Page, artefacts: Path) -> None:
    page.goto(f"{stack.config.api_url}/docs")
    page.locator("#operations-predictions-predict_predict_post .opblock-summary-control").click()
    block = page.locator("#operations-predictions-predict_predict_post")
    body = block.locator("textarea.body-param__text")
    row = json.loads(body.input_value())
    assert set(row) == {"sepal_length", "sepal_width", "petal_length", "petal_width"}
    body.fill(json.dumps({**row, "petal_length": 1.3, "petal_width": 0.2}))
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response").first
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text('"prediction": "setosa"')
    page.screenshot(path=artefacts / "swagger-ui.png", full_page=True)


def test_the_landing_page_leads_everywhere(stack: Stack, page: Page, artefacts: Path) -> None:
    page.goto(stack.config.api_url)
    expect(page.locator("table")).to_contain_text("data_drift")
    page.screenshot(path=artefacts / "landing.png", full_page=True)
    page.get_by_role("link", name="Model health").click()
    expect(page.get_by_text("Newest window")).to_be_visible(timeout=20_000)


def test_every_panel_of_the_dashboard_has_points(stack: Stack, page: Page, artefacts: Path) -> None:
    page.goto(stack.project_url())
    expect(page.get_by_text("Log loss").first).to_be_visible(timeout=20_000)
    expect(page.locator(".MuiLineElement-root").nth(30)).to_be_attached(timeout=20_000)
    page.wait_for_load_state("networkidle")
    drawn: list[dict[str, Any]] = page.evaluate(POINTS_OF_PANELS)
    page.screenshot(path=artefacts / "dashboard.png", full_page=True)
    assert {panel["title"] for panel in drawn} >= LINE_PANELS
    for panel in drawn:
        assert panel["series"] > 0, panel
        assert len(panel["points"]) == panel["series"], panel
        # a score that is undefined in a window, such as the precision of a class never predicted, leaves a gap
        assert min(panel["points"]) >= 2, panel
    expect(page.get_by_text("No data")).to_have_count(0)


def test_a_snapshot_opens_in_evidently_ui_with_its_verdict(stack: Stack, page: Page, artefacts: Path) -> None:
    window = page.request.get(f"{stack.config.api_url}/snapshots?limit=1").json()["windows"][0]
    page.goto(window["evidently_url"])
    expect(page.get_by_text("Failed checks").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text("4 of 4 columns drifted").first).to_be_visible()
    page.screenshot(path=artefacts / "snapshot.png", full_page=True)


def test_the_html_report_opens_by_itself_and_from_disk(stack: Stack, page: Page, artefacts: Path) -> None:
    window = page.request.get(f"{stack.config.api_url}/snapshots?limit=1").json()["windows"][0]
    day, name = window["report_url"].split("/")[-2:]
    (file,) = stack.config.data_dir.rglob(f"{day}/{name}")
    assert file.stat().st_size < 1_500_000  # without the script that all reports share
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    drawn = []
    for place, address in (("served", window["report_url"]), ("disk", file.as_uri())):
        page.goto(address)
        expect(page.get_by_text("4 of 4 columns drifted").first).to_be_visible(timeout=20_000)
        expect(page.locator(".js-plotly-plot .main-svg").first).to_be_attached(timeout=20_000)
        page.wait_for_load_state("networkidle")
        drawn.append(page.locator(".js-plotly-plot").count())
        page.screenshot(path=artefacts / f"report-{place}.png", full_page=True)
    assert drawn[0] == drawn[1] > 0
    assert complaints == []


def test_the_pictures_of_the_docs_can_be_taken_again(stack: Stack, tmp_path: Path) -> None:
    assert screenshots.main(["--url", stack.config.api_url, "--out", str(tmp_path)]) == 0
    for picture in (ROOT / "docs/images").glob("*.png"):
        assert picture.stat().st_size <= screenshots.MAX_BYTES
    made = {file.name for file in tmp_path.iterdir()}
    assert made == {
        "start-page.png",
        "swagger-ui.png",
        "evidently-dashboard.png",
        "evidently-snapshot.png",
        "report.png",
    }
    assert all((ROOT / "docs/images" / file).is_file() for file in made)


def test_no_page_asked_for_anything_from_elsewhere(elsewhere: list[str]) -> None:
    assert elsewhere == []
