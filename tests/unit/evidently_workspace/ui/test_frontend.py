"""The scripts and the page of Evidently UI that the launcher patches; fails if an upgrade of Evidently changes them."""

from pathlib import Path

import pytest
from litestar.handlers import HTTPRouteHandler

from evidently_workspace.ui import frontend as ui_frontend
from evidently_workspace.ui.frontend import BASE_PATH, PAGE, SCRIPTS, Changes, frontend, script_path


@pytest.mark.parametrize("changes", SCRIPTS)
def test_this_evidently_has_the_script_that_is_patched(changes: Changes) -> None:
    path = script_path(changes)
    assert path is not None, "an upgrade changed the pages: check whether they still need the patches, and where"
    script = path.read_text(encoding="utf-8")
    assert [script.count(old) for old, _ in changes] == [1] * len(changes)


def test_this_evidently_has_the_page_that_is_patched() -> None:
    page = (Path(BASE_PATH) / "index.html").read_text(encoding="utf-8")
    assert [page.count(old) for old, _ in PAGE] == [1] * len(PAGE)


def test_patched_files_replace_those_of_evidently() -> None:
    scripts = {f"/static/js/{path.name}" for changes in SCRIPTS if (path := script_path(changes))}
    addresses = set().union(*(route.paths for route in frontend() if isinstance(route, HTTPRouteHandler)))
    assert addresses == {*scripts, "/", "/projects/{path:path}"}


def test_unexpected_pages_are_served_unchanged_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    strange = (("words that no script has", ""),)
    monkeypatch.setattr(ui_frontend, "SCRIPTS", (strange,))
    monkeypatch.setattr(ui_frontend, "PAGE", strange)
    assert not [route for route in frontend() if isinstance(route, HTTPRouteHandler)]
    assert "other than expected" in caplog.text
