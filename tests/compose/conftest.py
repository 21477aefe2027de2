"""The compose stack, built and brought up for real in a project of its own.

VIGIE_COMPOSE_OVERRIDE may name a second compose file, such as one that leaves out what this machine has no image for.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from scripts.ports import free_port
from scripts.secrets import make_secrets

ROOT = Path(__file__).parents[2]
PORTS = ("API", "EVIDENTLY", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")


class Compose:
    """One compose project in a copy of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        override = os.environ.get("VIGIE_COMPOSE_OVERRIDE")
        files = ["docker-compose.yml", *([override] if override else [])]
        self._command = ["docker", "compose", "-p", "vigie-test", *(word for file in files for word in ("-f", file))]
        self._environment = {
            **os.environ,
            **{f"VIGIE_{name}_PORT": str(port) for name, port in self.ports.items()},
            "VIGIE_SNAPSHOT_INTERVAL_SECONDS": "10",
            "VIGIE_VERSION": "test",
        }

    def run(self, *words: str, seconds: int = 300) -> str:
        """Run one compose command and return what it printed; its own words are in the error where it fails."""
        command = [*self._command, *words]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def up(self) -> None:
        """Start everything and return once it is healthy."""
        self.run("up", "--detach", "--wait", "--no-build", seconds=600)

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.run("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        command = ["docker", "inspect", self.container(service)]
        found: list[dict[str, Any]] = json.loads(
            subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        )
        return found[0]

    def services(self) -> list[str]:
        """Return the services that run without a profile."""
        return self.run("config", "--services").split()

    def url(self, service: str) -> str:
        """Return where a published service is reached from here."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call the API and return its answer's body."""
        answer = httpx.request(method, self.url("API") + path, timeout=30, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus."""
        answer = httpx.get(self.url("PROMETHEUS") + "/api/v1/query", params={"query": expression}, timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found


def awaited(look: Callable[[], Any], seconds: float = 120, what: str = "it") -> Any:
    """Return the first true thing that ``look`` finds."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        try:
            if found := look():
                return found
        except (httpx.TransportError, AssertionError):
            pass
        sleep(0.5)
    raise TimeoutError(f"{what} did not come within {seconds} s")


@pytest.fixture(scope="package")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine on this machine")
    folder = tmp_path_factory.mktemp("compose") / "vigie"
    kept = ("model", "api", "evidently_workspace", "scripts", "deploy", "observability")
    for name in kept:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (
        *ROOT.glob("requirements*.lock"),
        *map(ROOT.joinpath, ("Dockerfile", ".dockerignore", "docker-compose.yml")),
    ):
        shutil.copy(file, folder)
    make_secrets(folder)
    compose = Compose(folder)
    compose.run("build", seconds=1800)
    try:
        compose.up()
        yield compose
    finally:
        logs = compose.run("logs", "--no-color")
        (ROOT / "test-artefacts").mkdir(exist_ok=True)
        (ROOT / "test-artefacts" / "compose.log").write_text(logs, encoding="utf-8")
        compose.run("down", "--volumes", "--timeout", "20")
