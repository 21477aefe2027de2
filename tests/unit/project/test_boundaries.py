"""Imports point one way: scripts -> api -> {evidently_workspace, model}. Read from the code, without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = ("model", "evidently_workspace", "api", "scripts")
MAY_IMPORT = {
    "model": set(),
    "evidently_workspace": {
        "model.artifact.manifest",
        "model.artifact.store",
        "model.data.encoding",
        "model.errors",
        "model.statistics",
    },
    "api": {"evidently_workspace", "model"},
    "scripts": {"api", "evidently_workspace", "model"},
}
HOME = {
    "fastapi": "api",
    "starlette": "api",
    "evidently": "evidently_workspace",
    "litestar": "evidently_workspace",
    "sklearn": "model",
    "skl2onnx": "model",
    "onnxruntime": "model",
}
STRANGERS = "scripts/bench/serving/programs/"
"""What the benchmark compares us with is written as others would write it."""
SQL_HOMES = ("api/prediction_log/", "evidently_workspace/ui")


def modules() -> list[Path]:
    paths = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in paths if not str(path.relative_to(ROOT)).startswith(STRANGERS)]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module, and whether the import runs when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node) for later in ast.walk(tree) if runs_later(later) for node in ast.walk(later)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module, id(node) not in inner


def runs_later(node: ast.AST) -> bool:
    """Whether what is inside does not run when the module is imported: a function, or `if TYPE_CHECKING`."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_boundaries(path: Path) -> None:
    relative = path.relative_to(ROOT)
    package = relative.parts[0]
    for name, _ in imports(path):
        top = name.split(".")[0]
        if top in OURS and top != package:
            allowed = any(within(name, one) for one in MAY_IMPORT[package])
            assert allowed, f"{relative} imports {name}"
        if top in HOME:
            assert HOME[top] == package, f"{relative} imports {name}, which belongs to {HOME[top]}/"
        if top in {"sqlalchemy", "alembic", "sqlite3"}:
            assert str(relative).startswith(SQL_HOMES), f"{relative} imports {name}"


def reached_from(start: str) -> dict[str, str]:
    """Every module that importing ``start`` imports, with the module that asks for it."""
    reached: dict[str, str] = {}
    waiting = [(start, "")]
    while waiting:
        name, by = waiting.pop()
        if name in reached:
            continue
        reached[name] = by
        base = ROOT / name.replace(".", "/")
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if path.is_file():
            waiting.extend((found, name) for found, at_import in imports(path) if at_import)
    return reached


@pytest.mark.parametrize("heavy", ["evidently", "pandas", "sklearn", "scipy", "shap"])
def test_nothing_on_the_request_path_imports_what_measures(heavy: str) -> None:
    reached = reached_from("api.app")
    assert "api.prediction_log.writer" in reached
    found = [f"{by} imports {name}" for name, by in reached.items() if within(name, heavy)]
    assert found == []
