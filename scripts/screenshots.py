"""The command `python -m scripts.screenshots`: takes the pictures of README and docs from a running stack.

It makes no prediction and no snapshot. Grafana is left out: it runs only with Docker.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from scripts.doctor import NO_CHROMIUM, find_program
from scripts.ports import API_URL

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH = 1280
MAX_BYTES = 250_000
_TIMEOUT_MILLISECONDS = 30_000
_WINDOWS_READ = 100


class NoPicturesError(Exception):
    """The pictures cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Picture:
    """One file: the page that it shows, and how to wait until the page is complete."""

    file: str
    url: str
    height: int
    """Height of the picture, from the top of the page, in pixels."""
    await_drawn: Callable[["Page"], object]


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.screenshots") -> int:
    """Run the command and return its exit status: 0 all were made, 1 one is too large, 2 none could be made."""
    options = _parse(arguments, prog)
    try:
        chromium = _chromium()
        pictures = pictures_of(options.url, _windows(options.url))
    except NoPicturesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    too_large = [file for file in _take(pictures, chromium, options.out) if file.stat().st_size > MAX_BYTES]
    for file in too_large:
        print(
            f"error: {file} is larger than {MAX_BYTES:,} bytes; lower its height in scripts/screenshots.py",
            file=sys.stderr,
        )
    return 1 if too_large else 0


def pictures_of(url: str, windows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Return the pictures to take. The snapshot shown is that of the window with the most failed checks.

    Raises NoPicturesError while no window is posted.
    """
    posted = [window for window in windows if window["evidently_url"] and window["report_url"]]
    if not posted:
        raise NoPicturesError(f"no window is posted yet at {url}; send traffic first, such as by make demo")
    shown = max(posted, key=lambda window: len(window["failed_checks"]))
    says = partial(_await_text, text="Failed checks")
    return [
        Picture("start-page.png", f"{url}/", 980, partial(_await_text, text="Newest windows")),
        Picture("swagger-ui.png", f"{url}/docs", 980, _open_predict),
        Picture("evidently-dashboard.png", shown["evidently_url"].split("/reports/")[0], 1400, _await_lines),
        Picture("evidently-snapshot.png", shown["evidently_url"], 1400, says),
        Picture("report.png", shown["report_url"], 1400, says),
    ]


def _take(pictures: Sequence[Picture], chromium: str, folder: Path) -> list[Path]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a development dependency, which may be missing

    files = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(_TIMEOUT_MILLISECONDS)
        for picture in pictures:
            page.set_viewport_size({"width": WIDTH, "height": picture.height})
            page.goto(picture.url)
            picture.await_drawn(page)
            page.wait_for_load_state("networkidle")
            file = folder / picture.file
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=file, animations="disabled")
            print(f"{file}  {file.stat().st_size / 1000:.0f} kB  {picture.url}", flush=True)
            files.append(file)
        browser.close()
    return files


def _await_text(page: "Page", text: str) -> None:
    page.get_by_text(text).first.wait_for()


def _await_lines(page: "Page") -> None:
    page.locator(".MuiLineElement-root").first.wait_for(timeout=90_000)  # ms; a busy machine takes long to draw a page


def _open_predict(page: "Page") -> None:
    block = page.locator('.opblock[id$="-predict_predict_post"]')
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Execute").wait_for()


def _windows(url: str) -> list[Mapping[str, Any]]:
    try:
        answer = httpx.get(f"{url}/snapshots", params={"limit": _WINDOWS_READ}, trust_env=False, timeout=10.0)
        windows: list[Mapping[str, Any]] = answer.raise_for_status().json()["windows"]
    except httpx.HTTPStatusError as error:
        raise NoPicturesError(f"{error.request.url} answered {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise NoPicturesError(f"no API answers at {url} ({error}); start one with make run or make demo") from None
    except (ValueError, LookupError, TypeError):
        raise NoPicturesError(f"the program at {url} is not Vigie") from None
    return windows


def _chromium() -> str:
    if find_spec("playwright") is None:
        raise NoPicturesError("playwright is not installed; run: scripts/setup.sh dev")
    chromium = find_program()
    if chromium is None:
        raise NoPicturesError(NO_CHROMIUM)
    return chromium


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Take the pictures of README and docs from a running stack: start page, Swagger UI, dashboard, "
        "a snapshot and its report. It needs a Chromium. Grafana is not included.",
        epilog="Exit status: 0 all were made, 1 one is too large, 2 none could be made.",
    )
    parser.add_argument("--url", default=API_URL, help="the API's address (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder to write them into (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
