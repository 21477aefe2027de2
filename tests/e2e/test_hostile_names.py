"""Names and values that are scripts, in every place where somebody may put one, on every page, in a real Chromium."""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from rich.console import Console

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
SCRIPT = """'"><img src=x onerror=pwned=1></script><script>pwned=1</script>[a](javascript:pwned=1)"""
NUMBER, CATEGORY, TARGET = f"number{SCRIPT}", f"category{SCRIPT}", f"target{SCRIPT}"
CLASSES = [f"yes{SCRIPT}", f"no{SCRIPT}"]
ROWS = 400


def rows() -> list[dict[str, Any]]:
    source = random.Random(1)
    values = [source.gauss(0, 1) for _ in range(ROWS)]
    return [
        {NUMBER: value, CATEGORY: f"{n % 3}{SCRIPT}", TARGET: CLASSES[value + source.gauss(0, 0.3) > 0]}
        for n, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def hostile_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of data in which everything that has a name is named as a script, and then the model itself."""
    folder = tmp_path_factory.mktemp("hostile")
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [NUMBER, CATEGORY, TARGET])
        writer.writeheader()
        writer.writerows(rows())
    command = [sys.executable, "-m", "model.train", "--csv", str(folder / "data.csv"), "--target", TARGET]
    command += ["--estimator", "logistic_regression", "--out", str(folder / "model")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=200)
    manifest = json.loads((folder / "model" / "manifest.json").read_text(encoding="utf-8"))
    manifest["name"] = f"model{SCRIPT}"
    for feature in manifest["features"]:
        feature |= {"description": f"description{SCRIPT}", "unit": f"unit{SCRIPT}"}
    (folder / "model" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder / "model"


@pytest.fixture(scope="module")
def stack(hostile_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two windows of hostile rows, labels and refused requests."""
    config = StackConfig(
        data_dir=tmp_path_factory.mktemp("stack"),
        model_dir=hostile_artifact,
        api_port=free_port(),
        ui_port=free_port(),
        interval_seconds=86_400,
        inherited={"VIGIE_HEARTBEAT_SECONDS": "1", "PATH": "/usr/bin:/bin"},
    )
    with Stack(config, Console(quiet=True)) as stack, closing(httpx.Client(base_url=config.api_url)) as http:
        for shift in (0.0, 3.0):
            send(http, shift)
            caller = Caller.__new__(Caller)
            caller.http = http
            assert caller.snapshot()["status"] == "posted"
        yield stack


def send(http: httpx.Client, shift: float) -> None:
    sent = rows()[:200]
    body = [{NUMBER: row[NUMBER] + shift, CATEGORY: f"{row[CATEGORY]}{shift}"} for row in sent]
    answer = http.post("/predict/batch", json={"rows": body}).raise_for_status().json()["predictions"]
    labels = [
        {"prediction_id": one["prediction_id"], "label": row[TARGET]} for one, row in zip(answer, sent, strict=True)
    ]
    http.post("/feedback", json={"labels": labels}).raise_for_status()
    unknown = {"labels": [{"prediction_id": SCRIPT.replace(" ", "_")[:64], "label": CLASSES[0]}]}
    assert http.post("/feedback", json=unknown).json()["accepted"] == 0
    assert http.post("/feedback", json={"labels": [labels[0] | {"label": SCRIPT}]}).status_code == 422
    assert http.post("/predict", json={SCRIPT: SCRIPT}).status_code == 422


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def assert_nothing_ran(page: Page, shown: str) -> None:
    """The name is on the page as text, and no script of it ran in any frame."""
    expect(page.get_by_text(shown).first).to_be_attached(timeout=30_000)
    page.wait_for_load_state("networkidle")
    assert [frame.url for frame in page.frames if frame.evaluate("typeof pwned") != "undefined"] == []
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("a[href^='javascript:']").count() == 0


def newest(stack: Stack) -> dict[str, Any]:
    window: dict[str, Any] = httpx.get(f"{stack.config.api_url}/snapshots?limit=1").json()["windows"][0]
    return window


def test_the_start_page_shows_names_as_text(stack: Stack, page: Page) -> None:
    page.goto(stack.config.api_url)
    assert_nothing_ran(page, "<img src=x onerror=pwned=1>")


def test_swagger_ui_shows_names_as_text(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.config.api_url}/docs")
    block = page.locator("#operations-predictions-predict_predict_post")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response").first).to_contain_text("200")
    block.get_by_role("tab", name="Schema").first.click()
    page.get_by_role("button", name="Expand all").first.click()
    assert_nothing_ran(page, "<img src=x onerror=pwned=1>")


@pytest.mark.parametrize("place", ["served", "disk"])
def test_a_report_shows_names_as_text(stack: Stack, page: Page, place: str) -> None:
    window = newest(stack)
    day, name = window["report_url"].split("/")[-2:]
    (file,) = stack.config.data_dir.rglob(f"{day}/{name}")
    page.goto(window["report_url"] if place == "served" else file.as_uri())
    assert_nothing_ran(page, "<img src=x onerror=pwned=1>")


def test_evidently_ui_shows_names_as_text(stack: Stack, page: Page) -> None:
    window = newest(stack)
    project = stack.project_url()
    for address in (stack.config.ui_url, project, f"{project}/reports", window["evidently_url"]):
        page.goto(address)
        assert_nothing_ran(page, "<img src=x onerror=pwned=1>")
