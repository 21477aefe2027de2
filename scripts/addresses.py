"""Prints where the pages of the compose stack are: `python -m scripts.addresses`. Only the standard library."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PAGES = (
    ("start page", "VIGIE_API_PORT", "8000", "/"),
    ("predictions by hand (Swagger UI)", "VIGIE_API_PORT", "8000", "/docs"),
    ("model health (Evidently UI)", "VIGIE_EVIDENTLY_PORT", "8001", "/"),
    ("API, containers and host (Grafana)", "VIGIE_GRAFANA_PORT", "3000", "/"),
    ("Prometheus", "VIGIE_PROMETHEUS_PORT", "9090", "/"),
    ("Alertmanager", "VIGIE_ALERTMANAGER_PORT", "9093", "/"),
)


def main() -> int:
    """Print a line for each page."""
    set_ports = {**read_env(Path(".env")), **os.environ}
    for name, address in addresses(set_ports).items():
        print(f"  {name:<36} {address}")
    print("  Grafana's user is admin, its password is in secrets/grafana_admin_password")
    return 0


def addresses(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the pages' addresses, given what may set their ports."""
    return {name: f"http://127.0.0.1:{variables.get(port, default)}{path}" for name, port, default, path in PAGES}


def read_env(path: Path) -> dict[str, str]:
    """Return the variables of a .env file, as compose reads simple ones; none where there is no file."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line)


if __name__ == "__main__":
    sys.exit(main())
