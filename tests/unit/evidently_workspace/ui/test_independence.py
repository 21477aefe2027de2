"""The UI runs with its own package and the third-party packages alone, as in its image."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
UI = ROOT / "evidently_workspace" / "ui"
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")}
PARENT = ROOT / "evidently_workspace" / "__init__.py"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name for name in names if name.split(".")[0] in OURS}


@pytest.mark.parametrize("path", [PARENT, *sorted(UI.glob("*.py"))], ids=lambda path: path.name)
def test_the_ui_imports_no_other_part_of_the_project(path: Path) -> None:
    assert {"api", "evidently_workspace", "model"} <= OURS
    others = [name for name in imported(path) if not f"{name}.".startswith("evidently_workspace.ui.")]
    assert others == []


def test_the_image_of_the_ui_holds_no_other_part_of_the_project() -> None:
    (stage,) = re.findall(
        r"^FROM base AS evidently-ui\n(.*?)^FROM", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL
    )
    copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", stage, re.MULTILINE)
    assert copied == ["evidently_workspace/__init__.py", "evidently_workspace/ui", "deploy/healthcheck.py"]
