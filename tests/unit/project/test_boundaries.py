"""What may import what, and how the code is divided into modules. Read from the code, without running it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("model", "evidently_workspace", "api", "scripts", "vigie")
PROGRAMS = "scripts.bench.serving.programs"
"""What the benchmark compares us with is written as others would write it."""
MIGRATIONS = "api.prediction_log.migrations"
MAX_MODULES = 257
"""Two hundred, and what alarms in time need (the values of many windows, past rows of a log, what was learned, and the
benchmark of that), what API and Evidently UI check alike of a request's host name and origin, the windows that are
retained, which are more than one page with the others, what a cell of text means, in files as in requests, the metrics
of each version of a model, what models of other libraries hold, exported files, the models of one log, how time is cut
into windows, which was more than one page with what becomes of them, several models (which are installed, which a
process hosts, what is counted of each, how the API describes the calls of all), files of YAML that people write, models
that are served elsewhere (their artifact, the predictions that the API logs of them, and files of these), erasure, the
client with its queue, which rows carry a change (their scores, their place in the log and in the report), how a
candidate is trained on the log and compared, what is dated in the future, with its command, estimated performance (what
an artifact keeps for it, its formulas, its fit, its section, its benchmark), whether a model is well, in words, and
people (what they are told, through which addresses and what they know already, the next step after a failed check, and
what they change about the alarms, over HTTP and by two commands), segments (their scores, those of many windows, the
weakest of them, their section), why performance changed, the file of a SQLite log with its connections, references
from the log's own rows, and the names that rows are logged without, which all who write or read them need."""
MAX_LINES = 400
MIN_LINES_FOR_ONE_IMPORTER = 80
MAY_BE_SMALL = {
    "api.middleware.body_limit": "each middleware is a module",
    "api.middleware.error_boundary": "each middleware is a module",
    "evidently_workspace.checks.changed_rows": "imports Evidently, which what the API imports must not",
    "scripts.stack.guard": "runs by its path, on the standard library alone",
}
"""Modules with one importer that stay apart, and why."""


@cache
def graph(*, with_others: bool = False) -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=with_others, cache_dir=None)


def path_of(module: str) -> Path:
    base = ROOT / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def modules() -> list[str]:
    """Every module of ours but for the compared programs, the migrations, and what only says what a package is."""
    return sorted(
        name for name in graph().modules if not name.startswith(PROGRAMS) and MIGRATIONS not in name and has_code(name)
    )


def has_code(module: str) -> bool:
    body = ast.parse(path_of(module).read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def line_count(module: str) -> int:
    return len(path_of(module).read_text(encoding="utf-8").splitlines())


def test_every_contract_of_import_linter_is_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_imports_itself_in_a_circle() -> None:
    left = set(graph().modules)
    # what imports nothing that is left, or is imported by nothing that is left, is in no circle
    while done := {
        module
        for module in left
        if not graph().find_modules_directly_imported_by(module) & left
        or not graph().find_modules_that_directly_import(module) & left
    }:
        left -= done
    assert sorted(left) == []


def test_there_are_few_modules() -> None:
    assert len(modules()) <= MAX_MODULES


def test_no_module_is_long() -> None:
    assert {module: lines for module in modules() if (lines := line_count(module)) > MAX_LINES} == {}


def test_a_small_module_that_one_other_uses_is_part_of_it() -> None:
    small = {
        module
        for module in modules()
        if len(graph().find_modules_that_directly_import(module)) == 1
        and line_count(module) < MIN_LINES_FOR_ONE_IMPORTER
    }
    assert small - MAY_BE_SMALL.keys() == set()
    assert MAY_BE_SMALL.keys() - small == set(), "these need no exception any more"


def imports_at_import(module: str) -> Iterator[str]:
    """Each module that importing this one imports: what functions and ``if TYPE_CHECKING`` import is not among them."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    later = {id(node) for outer in ast.walk(tree) if runs_later(outer) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if id(node) in later:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            yield node.module


def runs_later(node: ast.AST) -> bool:
    """Whether what is inside does not run when the module is imported: a function, or `if TYPE_CHECKING`."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def reached_from(start: str) -> dict[str, str]:
    """Every module that importing ``start`` imports, with the module that asks for it."""
    reached: dict[str, str] = {}
    waiting = [(start, "")]
    while waiting:
        name, by = waiting.pop()
        if name in reached:
            continue
        reached[name] = by
        if path_of(name).is_file():
            waiting.extend((found, name) for found in imports_at_import(name))
    return reached


@pytest.mark.parametrize("heavy", ["evidently", "pandas", "sklearn", "scipy", "shap"])
def test_nothing_on_the_request_path_imports_what_measures(heavy: str) -> None:
    reached = reached_from("api.app")
    assert "api.prediction_log.writer" in reached
    found = [f"{by} imports {name}" for name, by in reached.items() if f"{name}.".startswith(f"{heavy}.")]
    assert found == []


def test_a_ready_api_has_loaded_neither_evidently_nor_pandas(iris_artifact: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from api.app import create_app
from api.settings import Settings
create_app(Settings(model_dir=Path({str(iris_artifact)!r}), database_url="sqlite:///{tmp_path}/log.db"))
print(sorted({{"evidently", "pandas", "sklearn", "scipy"}} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
