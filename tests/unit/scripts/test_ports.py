import re
from pathlib import Path

from api.settings import Settings
from evidently_workspace.ui.options import build_parser
from scripts import ports

COMPOSE = (Path(__file__).parents[3] / "docker-compose.yml").read_text(encoding="utf-8")


def test_the_ports_are_those_that_the_services_listen_on_by_default() -> None:
    assert Settings.model_fields["port"].default == ports.API_PORT
    assert Settings.model_fields["evidently_url"].default == f"http://{ports.HOST}:{ports.UI_PORT}"
    assert build_parser({}).parse_args([]).port == ports.UI_PORT


def test_the_ports_are_those_that_compose_publishes() -> None:
    published = dict(re.findall(r"127\.0\.0\.1:\$\{VIGIE_(\w+)_PORT:-(\d+)\}:", COMPOSE))
    assert published == {
        "API": str(ports.API_PORT),
        "EVIDENTLY": str(ports.UI_PORT),
        "PROMETHEUS": str(ports.PROMETHEUS_PORT),
        "ALERTMANAGER": str(ports.ALERTMANAGER_PORT),
        "GRAFANA": str(ports.GRAFANA_PORT),
    }
