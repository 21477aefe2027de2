"""What the README says is so, and what is so the README says."""

import re
import subprocess
import tomllib
from pathlib import Path

from pydantic import SecretStr

from api.app import create_app
from api.settings import Settings
from scripts.load.traffic import NAMES

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


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
