"""Writes the dashboards' files: python -m observability.grafana.builders."""

from pathlib import Path

from observability.grafana.builders.api import api
from observability.grafana.builders.containers import containers
from observability.grafana.builders.dashboard import as_text
from observability.grafana.builders.host import host
from observability.grafana.builders.overview import overview
from observability.grafana.builders.runbook import runbook

FOLDER = Path(__file__).parent.parent / "dashboards"


def files() -> dict[str, str]:
    """Return the text of each dashboard's file, by the name of the file."""
    dashboards = {"overview": overview, "api": api, "containers": containers, "host": host, "runbook": runbook}
    return {f"{name}.json": as_text(build()) for name, build in dashboards.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
