"""What the README says is so, and what is so the README says."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.app import create_app
from api.settings import Settings
from scripts.load.traffic import NAMES

ROOT = Path(__file__).parents[3]
README, LISEZMOI = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.fr.md"))
TRANSLATED = {
    "Settings": "Réglages",
    "Development": "Développement",
    "The HTTP interface": "L'interface HTTP",
    "Map of the repository": "Carte du dépôt",
    "Sending traffic": "Envoyer du trafic",
}
IN_ORDER = [
    "Two commands",
    "Addresses",
    "How it works",
    "Guided demo",
    "The HTTP interface",
    "What a snapshot measures",
    "Settings",
    "Map of the repository",
    "Development",
    "Operations",
    "Troubleshooting",
    "Measured performance",
    "Limits",
    "Licence",
]


def section(title: str, page: str = README) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str, page: str = README) -> list[list[str]]:
    lines = [line for line in section(title, page).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


def code(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_readme_goes_from_the_first_look_to_the_licence() -> None:
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == IN_ORDER
    assert README.index("docs/images/evidently-dashboard.png") < README.index("## Two commands")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    shown = {name.strip("`"): (default.strip("`"), what) for name, default, what in rows("Settings")}
    real = {}
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        text = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        real[f"VIGIE_{name.upper()}"] = (text, field.description)
    assert shown == real


def test_every_make_target_is_in_the_table() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    real = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    assert [[f"`make {target}`", what] for _, target, what in real] == rows("Development")


def test_every_call_of_the_interface_is_in_the_table(iris_artifact: Path, tmp_path: Path) -> None:
    app = create_app(Settings(model_dir=iris_artifact, database_url=SecretStr(f"sqlite:///{tmp_path}/log.db")))
    schema = app.openapi()["paths"]
    real = {f"{method.upper()} {path}" for path, methods in schema.items() for method in methods}
    real |= {"GET /metrics", "GET /docs", "GET /"}
    assert {call.strip("`") for call, _ in rows("The HTTP interface")} == real


def test_every_folder_of_the_map_exists() -> None:
    for folder, _ in rows("Map of the repository"):
        assert (ROOT / folder.strip("`")).is_dir(), folder


def test_every_scenario_is_in_the_table() -> None:
    assert [name.strip("`") for name, _ in rows("Sending traffic")] == list(NAMES)


@pytest.mark.parametrize("title", TRANSLATED)
def test_the_french_readme_has_the_same_tables_each_row_described(title: str) -> None:
    # the last column describes; what stands before it are names and defaults of the code
    here, there = rows(title), rows(TRANSLATED[title], LISEZMOI)
    assert [row[:-1] for row in there] == [row[:-1] for row in here]
    assert all(row[-1] for row in there)


def test_the_french_readme_has_the_same_parts_commands_and_pages() -> None:
    assert [len(mark) for mark in re.findall(r"^(##+) ", LISEZMOI, re.MULTILINE)] == [
        len(mark) for mark in re.findall(r"^(##+) ", README, re.MULTILINE)
    ]
    assert code(LISEZMOI) == code(README)
    pages = [set(re.findall(r"\]\(((?:docs|deploy)/[^)]+\.md)\)", page)) for page in (README, LISEZMOI)]
    assert pages[0] == pages[1]
    lines = [len(re.findall(r"^\|", page, re.MULTILINE)) for page in (README, LISEZMOI)]
    assert lines[0] == lines[1], "a row of a table is missing in one of the two"


def test_what_troubleshooting_quotes_is_what_the_program_says() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for place in ("scripts", "api", "evidently_workspace")
        for path in (*(ROOT / place).rglob("*.py"), *(ROOT / place).rglob("*.sh"))
    ) + (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for said in (
        "is taken, and",
        "Vigie needs Python 3.11 to 3.13",
        "not enough data",
        "of at least",
        "run make secrets first",
        "no answer from",
    ):
        assert said in section("Troubleshooting")
        assert said in section("Dépannage", LISEZMOI)
        assert said in sources


def test_every_dependency_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
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


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links {link}"
