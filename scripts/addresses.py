"""The command `python -m scripts.addresses`: prints the addresses of the compose stack, with the standard library."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.ports import ALERTMANAGER_PORT, API_PORT, GRAFANA_PORT, HOST, PROMETHEUS_PORT, UI_PORT

PAGES = (
    ("start page", "VIGIE_API_PORT", API_PORT, "/"),
    ("predictions by hand (Swagger UI)", "VIGIE_API_PORT", API_PORT, "/docs"),
    ("model health (Evidently UI)", "VIGIE_EVIDENTLY_PORT", UI_PORT, "/"),
    ("API, containers and host (Grafana)", "VIGIE_GRAFANA_PORT", GRAFANA_PORT, "/"),
    ("Prometheus", "VIGIE_PROMETHEUS_PORT", PROMETHEUS_PORT, "/"),
    ("Alertmanager", "VIGIE_ALERTMANAGER_PORT", ALERTMANAGER_PORT, "/"),
)


def main() -> int:
    """Print the address of each page, and the files of the passwords."""
    variables = {**read_env(Path(".env")), **os.environ}
    for name, address in addresses(variables).items():
        print(f"  {name:<36} {address}")
    print("  Grafana's user is admin, its password is in secrets/grafana_admin_password")
    if variables.get("VIGIE_SITE"):
        print("  all pages ask for user vigie, whose password is in secrets/page_password")
        print("  the file secrets/api_key has an API key")
    return 0


def addresses(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the pages' addresses by the variables that set their ports and, in public, the name of the site."""
    site = variables.get("VIGIE_SITE")
    if not site:
        return {name: f"http://{HOST}:{variables.get(port, default)}{path}" for name, port, default, path in PAGES}
    https = ("VIGIE_HTTPS_PORT", 443)
    public = [
        (name, *(https if port == "VIGIE_API_PORT" else (port, default)), path) for name, port, default, path in PAGES
    ]
    return {name: f"https://{site}:{variables.get(port, default)}{path}" for name, port, default, path in public}


def read_env(path: Path) -> dict[str, str]:
    """Return the variables of a simple .env file; none where there is no file."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line)


if __name__ == "__main__":
    sys.exit(main())
