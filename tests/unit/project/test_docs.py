"""What README and docs/ name exists in the program, and what the program has is in README and docs/."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api.app import create_app
from api.metrics import Metrics
from api.settings import Settings
from scripts.load.traffic import NAMES

ROOT = Path(__file__).parents[3]
PACKAGES = ("model", "api", "evidently_workspace", "scripts", "vigie", "observability")
MAX_README_CHARACTERS = 12_000
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"))
}
README, LISEZMOI = PAGES["README.md"], PAGES["README.fr.md"]
SETTINGS, COMMANDS = PAGES["docs/settings.md"], PAGES["docs/commands.md"]
TODAY = {name: text for name, text in PAGES.items() if name != "CHANGELOG.md"}
"""The pages that say what is so now; the changelog may name what is gone."""
TRANSLATED = {
    "Addresses": "Adresses",
    "Map of the repository": "Carte du dépôt",
    "Where to read on": "Pour aller plus loin",
}
IN_ORDER = [
    "Two commands",
    "Addresses",
    "How it works",
    "Your own model",
    "Map of the repository",
    "Where to read on",
    "Limits",
    "Licence",
]


def section(title: str, page: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of every table, without their heads."""
    tables = re.findall(r"^\|.*\n\|[-:| ]+\|\n((?:\|.*(?:\n|\Z))+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def code(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def spans(page: str) -> set[str]:
    """What stands between backticks within a line."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)))


def sources(*more: str) -> str:
    """The text of the program, and of more folders."""
    kinds = {".py", ".sh", ".yml", ".yaml"}
    files = [path for name in (*PACKAGES, "deploy", *more) for path in (ROOT / name).rglob("*") if path.suffix in kinds]
    return "".join(path.read_text(encoding="utf-8") for path in (*files, *ROOT.glob("*.yml"), ROOT / ".env.example"))


@pytest.fixture(scope="module")
def openapi(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    log = tmp_path_factory.mktemp("docs") / "log.db"
    return create_app(Settings(model_dir=iris_artifact, database_url=SecretStr(f"sqlite:///{log}"))).openapi()


def calls(openapi: dict[str, Any]) -> set[str]:
    paths = {re.sub("^/models/[^/]+", "/models/{model}", path): methods for path, methods in openapi["paths"].items()}
    real = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    return real | {"GET /metrics", "GET /docs", "GET /"}


def test_the_readme_goes_from_the_first_look_to_the_licence_and_is_short() -> None:
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == IN_ORDER
    assert README.index("docs/images/evidently-dashboard.png") < README.index("## Two commands")
    assert max(len(README), len(LISEZMOI)) <= MAX_README_CHARACTERS


def test_every_page_can_be_reached_from_the_readme() -> None:
    pages = {name for name in PAGES if name.startswith("docs/") and not name.startswith("docs/adr/")}
    assert {page for page in pages if f"]({page})" not in README} == set()


def test_every_setting_is_in_the_tables_with_its_default() -> None:
    shown = {
        name.strip("`"): (default.strip("`"), what)
        for name, default, what in rows(SETTINGS.partition("## Variables of the other programs")[0])
    }
    real = {}
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        text = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        real[f"VIGIE_{name.upper()}"] = (text, field.description)
    assert shown == real


def test_every_variable_that_a_page_names_is_read_by_something() -> None:
    known = {f"VIGIE_{name.upper()}" for name in Settings.model_fields}
    text = sources("tests")
    for page, content in TODAY.items():
        for name in set(re.findall(r"\bVIGIE_[A-Z_]+[A-Z]\b", content)) - known:
            assert re.search(rf"\b{name}\b", text), f"{page} names {name}"


def test_every_make_target_is_in_the_table() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    real = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    shown = rows(COMMANDS.partition("\n## ")[0])
    assert [[f"`make {target}`", what] for _, target, what in real] == shown
    targets = {target for _, target, _ in real}
    for page, content in TODAY.items():
        text = "\n".join([*spans(content), *code(content)])
        named = re.findall(r"^(?:[A-Z_]+=\S+ )*make (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)", text, re.MULTILINE)
        assert set(named) <= targets, page


def test_every_program_is_in_the_table_and_every_program_of_a_page_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry_points = {target.partition(":")[0] for target in project.get("scripts", {}).values()}
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    real = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in files
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    shown = {module.strip("`").removeprefix("python -m ") for _, module, _ in rows(COMMANDS[COMMANDS.index("\n## ") :])}
    # what lies deeper is started by a program, not by a person
    assert shown == {name for name in real if name.count(".") < 2} - entry_points
    for page, content in TODAY.items():
        named = set(re.findall(rf"python3? -m ((?:{'|'.join(PACKAGES)})[\w.]*\b)", content))
        assert named <= real, page


def test_every_call_of_the_interface_is_in_the_table(openapi: dict[str, Any]) -> None:
    assert {call.strip("`") for call, _ in rows(section("Calls", PAGES["docs/http.md"]))} == calls(openapi)


def test_every_call_that_a_page_names_exists(openapi: dict[str, Any]) -> None:
    real = calls(openapi)
    for page, content in TODAY.items():
        for call in re.findall(r"`((?:GET|POST) /[\w/{}]*)", content):
            assert call in real or call == "GET /reports/", f"{page} names {call}"


def test_every_check_is_explained(openapi: dict[str, Any]) -> None:
    checks = openapi["components"]["schemas"]["FailedCheck"]["properties"]["check"]
    names = checks.get("enum") or openapi["components"]["schemas"][checks["$ref"].rpartition("/")[2]]["enum"]
    explained = spans(section("What to do next", PAGES["docs/reading-reports.md"]))
    assert set(names) <= explained


def test_every_metric_that_a_page_names_exists() -> None:
    metrics = Metrics(CollectorRegistry())
    names = {family.name for family in metrics.registry.collect()}
    for page, content in TODAY.items():
        for name in re.findall(r"`(vigie_\w+)`", content):
            assert name.removesuffix("_total") in names, f"{page} names {name}"


def test_every_folder_of_the_map_exists() -> None:
    for folder, _ in rows(section("Map of the repository", README)):
        assert (ROOT / folder.strip("`")).is_dir(), folder


def test_every_file_that_a_page_names_exists() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    for page, content in TODAY.items():
        for span in spans(content):
            if re.fullmatch(rf"(?:{'|'.join(PACKAGES)}|deploy|tests|docs)/[\w./-]+", span):
                assert (ROOT / span).exists(), f"{page} names {span}"
            if re.fullmatch(r"test_\w+\.py", span):
                assert span in tests, f"{page} names {span}"


def test_every_scenario_is_in_the_table() -> None:
    assert [name.strip("`") for name, _ in rows(section("Sending traffic", PAGES["docs/tour.md"]))] == list(NAMES)


@pytest.mark.parametrize("title", TRANSLATED)
def test_the_french_readme_has_the_same_tables_each_row_described(title: str) -> None:
    here, there = (
        [row if title == "Map of the repository" else row[::-1] for row in rows(section(name, page))]
        for name, page in ((title, README), (TRANSLATED[title], LISEZMOI))
    )
    # one column is translated; the other holds names, addresses and links
    assert [row[:-1] for row in there] == [row[:-1] for row in here]
    assert all(row[-1] for row in there)


def test_the_french_readme_has_the_same_parts_commands_and_pages() -> None:
    assert [len(mark) for mark in re.findall(r"^(##+) ", LISEZMOI, re.MULTILINE)] == [
        len(mark) for mark in re.findall(r"^(##+) ", README, re.MULTILINE)
    ]
    assert code(LISEZMOI) == code(README)
    assert spans(LISEZMOI) == spans(README)
    pages = [set(re.findall(r"\]\(((?:docs|deploy)/[^)]+\.md)\)", page)) for page in (README, LISEZMOI)]
    assert pages[0] == pages[1]
    lines = [len(re.findall(r"^\|", page, re.MULTILINE)) for page in (README, LISEZMOI)]
    assert lines[0] == lines[1], "a row of a table is missing in one of the two"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("docs/troubleshooting.md", "is taken, and"),
        ("docs/troubleshooting.md", "Vigie needs Python 3.11 to 3.13"),
        ("docs/troubleshooting.md", "not enough data"),
        ("docs/troubleshooting.md", "of at least"),
        ("docs/troubleshooting.md", "run make secrets first"),
        ("docs/troubleshooting.md", "no answer from"),
        ("docs/runbook.md", "some of what is old could not be removed"),
        ("docs/runbook.md", "waits for the prediction log"),
    ],
)
def test_a_message_that_a_page_quotes_is_what_the_program_says(page: str, message: str) -> None:
    assert message in PAGES[page]
    assert message in sources()


def test_every_dependency_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = PAGES["docs/dependencies.md"]
    required = project["project"]["dependencies"] + [
        one for group in project["dependency-groups"].values() for one in group
    ]
    names = [re.split(r"[\[<>=~]", one)[0] for one in required]
    assert [name for name in names if name not in text] == []


def test_locks_carry_hashes_and_no_address() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text, lock.name
        pinned = re.findall(r"^[a-z0-9][^ ]*==", text, re.MULTILINE | re.IGNORECASE)
        assert pinned
        assert len(re.findall(r"^ +--hash=sha256:", text, re.MULTILINE)) >= len(pinned), lock.name


def heading_anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_to_a_file_leads_somewhere() -> None:
    for name, content in PAGES.items():
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", content):
            if "://" in link:
                continue
            target = (ROOT / name).parent / link if link else ROOT / name
            assert target.exists(), f"{name} links {link}"
            if anchor and target.suffix == ".md":
                assert anchor in heading_anchors(target), f"{name} links {link}#{anchor}"


def test_every_table_has_as_many_cells_in_each_row() -> None:
    for name, content in PAGES.items():
        for table in re.findall(r"(?:^\|.*\n)+", content, re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, f"{name}: {table}"
