"""Where the files of the ops view are, and what several tests read from them."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "observability"
PROMETHEUS = FOLDER / "prometheus" / "prometheus.yml"
RULES = sorted((FOLDER / "prometheus" / "rules").glob("*.yml"))
ALERTMANAGER = FOLDER / "alertmanager" / "alertmanager.yml"


def read_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in read_yaml(path)["groups"]:
            yield from group["rules"]


@cache
def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def without_url_files(text: str, url: str) -> str:
    """The Alertmanager of Debian 12 (0.25) reads a webhook's address from the configuration alone."""
    return re.sub(r"- url_file: \S*/(\w+)_url", rf"- url: {url}/\1", text)


def without(text: str, *integrations: str) -> str:
    """Alertmanager's configuration without the receivers of these kinds."""
    for name in integrations:
        text = re.sub(rf"^    {name}_configs:\n(?:      .*\n)+", "", text, flags=re.MULTILINE)
    return text
