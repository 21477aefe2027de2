"""The dashboard in a real browser: how long until every panel shows its lines, and whether they span the history."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

LIMIT_MS = 600_000
PANELS_WITH_LINES = """() => [...document.querySelectorAll('.MuiCard-root')]
    .filter(card => card.querySelector('.MuiLineElement-root')).length"""
DRAWN = """(panels) => [...document.querySelectorAll('.MuiCard-root')]
    .filter(card => card.querySelector('.MuiLineElement-root')).length >= panels"""
FIRST_LINE = """() => (document.querySelector('.MuiLineElement-root').getAttribute('d').match(/[MLC]/g) || []).length"""


class NotTheWholeHistory(Exception):
    """The charts lack the first or the last window."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the first look at a dashboard was like."""

    seconds: float
    points_of_a_line: int


def look(chromium: str, url: str, panels: int, ends: tuple[datetime, datetime], screenshot: Path) -> Shown:
    """Open the dashboard in a browser without a cache, and return once `panels` panels show lines.

    Raises NotTheWholeHistory unless every panel's points reach from the first to the second of `ends`.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer) if "data_series_batch" in answer.url else None)
        began = time.monotonic()
        page.goto(url)
        page.wait_for_function(DRAWN, arg=panels, timeout=LIMIT_MS)
        seconds = time.monotonic() - began
        _require_whole_history([answer.json() for answer in answers], *ends)
        points = _points_of_the_first_line(page, answers)
        page.screenshot(path=screenshot, full_page=True)
        browser.close()
    return Shown(seconds, points)


def _require_whole_history(answers: list[Any], first: datetime, last: datetime) -> None:
    for answer in answers:
        times = [datetime.fromisoformat(source["timestamp"]).replace(tzinfo=UTC) for source in answer["sources"]]
        if not times or times[0] != first or times[-1] != last:
            shown = f"from {times[0]} to {times[-1]}" if times else "nothing"
            raise NotTheWholeHistory(f"a panel shows {shown}, not from {first} to {last}")


def _points_of_the_first_line(page: Page, answers: list[Response]) -> int:
    drawn = int(page.evaluate(FIRST_LINE))
    if drawn not in {len(answer.json()["sources"]) for answer in answers}:
        raise NotTheWholeHistory(f"the first line has {drawn} points, which no panel was given")
    return drawn
