"""The commands that the docs show are there, with the options that they show; the docs' own pages run some in full."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
OURS = re.compile(r"python3? -m ((?:model|scripts|api|evidently_workspace|observability)[\w.]*)((?: [^`\n|#]+)?)")
WITHOUT_HELP = {
    "api": "has settings instead of options; tests start it",
    "observability.grafana.builders": "has no options; a test compares what it makes",
}
"""What is not asked for its options, and why."""
SUBCOMMANDS = {"scripts.bench", "scripts.keys"}


def documented() -> dict[str, dict[str, set[str]]]:
    """Every option that a page gives to a module, by its subcommand, which is empty where it has none."""
    found: dict[str, dict[str, set[str]]] = {}
    for page in PAGES:
        # as a shell reads it: a line that ends in a backslash goes on
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        for module, arguments in OURS.findall(text):
            words = [word for word in arguments.split() if re.fullmatch(r"[a-z]+", word)]
            subcommand = words[0] if words and module in SUBCOMMANDS else ""
            options = re.findall(r"(?<=\s)--[a-z][a-z-]+", arguments)
            found.setdefault(module, {}).setdefault(subcommand, set()).update(options)
    return found


def make_commands() -> set[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return {
        line.strip()
        for line in re.findall(
            r"(?:^|`)((?:[A-Z_]+=\S+ )*make(?: [a-z-]+| [A-Z_]+=[\w./]+)+)(?=`|$)", text, re.MULTILINE
        )
    }


def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", sorted(documented().keys() - WITHOUT_HELP.keys()))
def test_a_command_of_the_docs_has_the_options_that_they_give_it(module: str) -> None:
    general = help_of(module)
    for subcommand, options in documented()[module].items():
        assert re.search(rf"\b{subcommand}\b", general)
        missing = {option for option in options if not re.search(rf"{option}\b", general)}
        if missing and subcommand:
            particular = help_of(module, subcommand)
            missing = {option for option in missing if not re.search(rf"{option}\b", particular)}
        assert missing == set(), subcommand


def test_what_is_not_asked_for_its_options_is_documented() -> None:
    assert documented().keys() >= WITHOUT_HELP.keys()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("command", sorted(make_commands()))
def test_a_make_command_of_the_docs_would_run(command: str) -> None:
    words = [word for word in command.split() if word != "make"]
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
