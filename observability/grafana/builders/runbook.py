"""The dashboard with the runbook, so that an alert links to its entry wherever Grafana is reached."""

import re
from functools import cache
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.dashboard import Section, dashboard
from observability.grafana.builders.panels import note

PAGE = Path(__file__).parents[3] / "docs" / "runbook.md"
UID = "vigie-runbook"
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


@cache
def entries() -> dict[str, dict[str, str]]:
    """Return the entries of the page by their alert, below the title of their section."""
    sections: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, *found = re.split(r"^### ", section, flags=re.MULTILINE)
        parts = (one.partition("\n") for one in found)
        sections[title.splitlines()[0]] = {name: content.strip() for name, _, content in parts}
    return sections


@cache
def numbers() -> dict[str, int]:
    """Return the number of each alert's panel: the rows are numbered too."""
    found, number = {}, 0
    for named in entries().values():
        number += 1
        for name in named:
            number += 1
            found[name] = number
    return found


def runbook() -> Dashboard:
    """Build the dashboard."""
    text = "What each alert means, where to look and what to do: the page docs/runbook.md of this version."
    return dashboard(UID, text, [], [_section(title, named) for title, named in entries().items()])


def _section(title: str, named: dict[str, str]) -> Section:
    """Build the entries two by two; the last one of an odd number takes the whole width."""
    panels = []
    for place, (name, content) in enumerate(named.items(), start=1):
        span = 24 if place == len(named) and place % 2 else 12
        panels.append(note(f"{numbers()[name]} {name}", "From docs/runbook.md.", _linked(content), span=span, height=9))
    return title, panels


def _linked(content: str) -> str:
    """Return the text with links between entries; a link to another page becomes its name."""
    by_anchor = {name.lower(): number for name, number in numbers().items()}

    def replaced(found: re.Match[str]) -> str:
        name, target = found.groups()
        if target.startswith("#"):
            return f"[{name}](/d/{UID}?viewPanel={by_anchor[target[1:]]})"
        return name if target.startswith("http") else f"`docs/{target}`"

    return LINK.sub(replaced, content)
