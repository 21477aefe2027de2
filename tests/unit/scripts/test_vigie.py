import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scripts.vigie import PANELS, Command, app

ROOT = Path(__file__).parents[3]
PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"))
COMMANDS = {command.name: command for commands in PANELS.values() for command in commands}
NOT_SUBCOMMANDS = {
    "scripts.vigie",
    "scripts.stack.guard",
    "scripts.bench.estimation.nannyml_program",
    "scripts.bench.reading",
    "scripts.bench.scale",
    "scripts.bench.serving.loader",
}
"""The command itself, and processes that a command starts."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="vigie")


def runnable_modules() -> set[str]:
    paths = [
        path
        for package in ("model", "api", "evidently_workspace", "scripts", "vigie")
        for path in (ROOT / package).rglob("*.py")
    ]
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if "programs" not in path.parts and 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    return found - NOT_SUBCOMMANDS


def test_every_command_of_the_project_is_a_subcommand() -> None:
    assert {command.module for command in COMMANDS.values()} == runnable_modules()


def test_the_page_of_commands_lists_them_as_the_help_does() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    listed = {
        title: re.findall(r"^\| `vigie (\S+)` \| `python -m (\S+)` \| (.+) \|$", rows, re.MULTILINE)
        for title, rows in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    }
    assert listed == {
        panel: [(one.name, one.module.removesuffix(".__main__"), one.help) for one in commands]
        for panel, commands in PANELS.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|^|exec api )vigie ([a-z]\w*)", text, re.MULTILINE)) <= COMMANDS.keys()
    modules = {command.module.removesuffix(".__main__") for command in COMMANDS.values()}
    named = set(re.findall(r"python -m ((?:model|api|evidently_workspace|scripts)\b[\w.]*\w)", text))
    assert named <= modules


def test_the_help_lists_every_command_with_one_line_of_a_narrow_terminal() -> None:
    shown = run("--help").output
    for command in COMMANDS.values():
        assert re.search(rf"^│ {command.name} +{re.escape(command.help)} +│$", shown, re.MULTILINE), command.name


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_a_subcommand_shows_the_help_of_its_module_under_its_own_name(command: Command) -> None:
    result = run(command.name, "--help")
    assert result.exit_code == 0
    assert re.search(rf"usage: vigie {command.name} ", result.output, re.IGNORECASE)


def test_the_exit_status_and_the_order_of_the_arguments_pass_through(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.jsonl")
    assert run("keys", "--file", file, "create", "shop", "--scope", "read").exit_code == 0
    assert run("keys", "--file", file, "revoke", "shop").exit_code == 0
    assert run("keys", "--file", file, "revoke", "shop").exit_code == 1
    assert run("keys", "--file", file, "create", "--no-such-option").exit_code == 2


def test_an_unknown_subcommand_is_refused() -> None:
    assert run("fly").exit_code == 2


def test_the_help_loads_none_of_the_commands() -> None:
    show = "from scripts.vigie import app; app(['--help'], standalone_mode=False)"
    code = f"import sys; {show}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & {"numpy", "pandas", "sklearn", "pydantic", "httpx", "fastapi", "api", "model", "evidently"}
