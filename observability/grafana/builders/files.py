"""Owns which dashboards there are, as the files that Grafana reads."""

from pathlib import Path

from observability.grafana.builders.api import api
from observability.grafana.builders.board import as_text
from observability.grafana.builders.containers import containers
from observability.grafana.builders.host import host
from observability.grafana.builders.overview import overview

FOLDER = Path(__file__).parent.parent / "dashboards"


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    boards = {"overview": overview, "api": api, "containers": containers, "host": host}
    return {f"{name}.json": as_text(board()) for name, board in boards.items()}
