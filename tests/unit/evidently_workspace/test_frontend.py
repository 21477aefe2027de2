"""The script of Evidently's pages that the launcher mends; fails loudly where an upgrade has another one."""

from evidently_workspace.ui_frontend import MENDED, mended_script, script_path


def test_this_evidently_has_the_script_that_is_mended() -> None:
    path = script_path()
    assert path is not None, "an upgrade changed the pages: see whether they still need mending, and where"
    script = path.read_text(encoding="utf-8")
    assert [script.count(old) for old, _ in MENDED] == [1] * len(MENDED)


def test_the_mended_script_takes_the_place_of_evidently_s() -> None:
    path = script_path()
    assert path is not None
    assert [route.paths for route in mended_script()] == [{f"/static/js/{path.name}"}]
