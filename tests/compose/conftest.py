"""The compose stack, built and brought up for real in a project of its own.

VIGIE_COMPOSE_OVERRIDE may name a second compose file, such as one that leaves out what this machine has no image for.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from scripts.secrets import main as secrets_command
from scripts.secrets import make_secrets, update_env
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PORTS = ("API", "EVIDENTLY", "PROMETHEUS", "ALERTMANAGER", "GRAFANA", "HTTP", "HTTPS")


class Compose:
    """One compose project in a copy of the checkout.

    ``also`` is a compose file beside the first one; ``variables`` are what its user would set in .env.
    """

    def __init__(self, folder: Path, also: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        files = filter(None, ("docker-compose.yml", also, os.environ.get("VIGIE_COMPOSE_OVERRIDE")))
        self._command = ["docker", "compose", "-p", "vigie-test", *(word for file in files for word in ("-f", file))]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("VIGIE_", "COMPOSE_"))},
            **{f"VIGIE_{name}_PORT": str(port) for name, port in self.ports.items()},
            "VIGIE_SNAPSHOT_INTERVAL_SECONDS": "10",
            "VIGIE_VERSION": "test",
            **(variables or {}),
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

    def rotate(self, *names: str) -> None:
        """Do what ``make rotate`` does, for several secrets at once."""
        for name in names:
            assert secrets_command(["--folder", str(self.folder), "--rotate", name]) == 0
        self.up()

    def secret(self, name: str) -> str:
        """Return the content of a secret's file."""
        return (self.folder / "secrets" / name).read_text(encoding="utf-8")

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.run("ps", "--all", "--quiet", service).strip()

    def containers(self) -> dict[str, str]:
        """Return the ids of the containers by their services."""
        listed = self.run("ps", "--all", "--format", "{{.Service}} {{.ID}}")
        return dict(line.split() for line in listed.splitlines())

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        command = ["docker", "inspect", self.container(service)]
        found: list[dict[str, Any]] = json.loads(
            subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        )
        return found[0]

    def services(self) -> list[str]:
        """Return the services of the profiles that are on."""
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


def check_hardened(compose: Compose, service: str) -> None:
    """Fail if a service's container may do more than it must, or has a secret in its environment."""
    container = compose.inspect(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"], service
    assert host["CapDrop"] == ["ALL"], service
    assert not host["CapAdd"], service
    assert not host["Privileged"], service
    assert any("no-new-privileges" in option for option in host["SecurityOpt"]), service
    assert host["Memory"] > 0, service
    assert host["NanoCpus"] > 0, service
    assert host["LogConfig"]["Config"]["max-size"], service
    assert not container["Config"]["User"].startswith("0"), service
    if service != "engine-filter":
        assert not [mount for mount in container["Mounts"] if "docker.sock" in mount["Source"]], service
        assert "/" not in {mount["Source"] for mount in container["Mounts"]} or service == "node-exporter"
    environment = "\n".join(container["Config"]["Env"])
    secrets = [path.read_text() for path in (compose.folder / "secrets").rglob("*") if path.is_file()]
    # the addresses to notify may be none, and nothing is in every environment
    assert not [secret for secret in secrets if secret and secret in environment], service


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a checkout has, make the secrets, and build the images of every profile."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine on this machine")
    folder = tmp_path_factory.mktemp("compose") / "vigie"
    kept = ("model", "api", "evidently_workspace", "scripts", "vigie", "deploy", "observability")
    for name in kept:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    named = ("Dockerfile", ".dockerignore", "docker-compose.yml", "docker-compose.public.yml")
    for file in (*ROOT.glob("requirements*.lock"), *map(ROOT.joinpath, named)):
        shutil.copy(file, folder)
    make_secrets(folder)
    update_env(folder)
    Compose(folder).run("--profile", "*", "build", seconds=1800)
    return folder


@contextmanager
def running(compose: Compose, log: str) -> Iterator[Compose]:
    """Bring the stack up; at the end keep its logs in test-artefacts/ and remove it with all it stored."""
    with removed_at_the_end(compose, log):
        compose.up()
        yield compose


@contextmanager
def removed_at_the_end(compose: Compose, log: str) -> Iterator[None]:
    """Keep the logs of a stack in test-artefacts/ at the end, and remove it with all it stored."""
    try:
        yield
    finally:
        logs = compose.run("logs", "--no-color")
        (ROOT / "test-artefacts").mkdir(exist_ok=True)
        (ROOT / "test-artefacts" / log).write_text(logs, encoding="utf-8")
        compose.run("down", "--volumes", "--timeout", "20")
