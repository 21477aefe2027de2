"""Each threat of docs/security.md names tests, and each of them exists."""

import ast
import re
from pathlib import Path

from api.security.keys import SCOPES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")


def known_tests() -> set[str]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


def threats() -> list[list[str]]:
    lines = PAGE.partition("## Threats")[2].partition("## What is left")[0].splitlines()
    return [line.strip("|").split("|") for line in lines if line.startswith("|")][2:]


def test_each_threat_is_held_by_tests_that_exist() -> None:
    known = known_tests()
    assert len(threats()) > 10
    for threat, _, held in threats():
        named = re.findall(r"`(test_\w+)`", held)
        assert named or held.strip() == "by construction, no test", threat
        assert set(named) <= known, threat


def test_each_scope_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(SCOPES)
