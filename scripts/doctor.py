"""The command `python -m scripts.doctor`: checks what this machine lacks. It needs only the standard library."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from scripts.ports import ALERTMANAGER_PORT, API_PORT, GRAFANA_PORT, HOST, PROMETHEUS_PORT, UI_PORT, is_free

ROOT = Path(__file__).parents[1]
_PYTHONS = ((3, 11), (3, 13))
_NEEDED_BYTES = 200 * 2**20
_ADVISED_BYTES = 2 * 2**30
_STACK_PORTS = {API_PORT: "the API", UI_PORT: "Evidently UI"}
_COMPOSE_PORTS = {PROMETHEUS_PORT: "Prometheus", ALERTMANAGER_PORT: "Alertmanager", GRAFANA_PORT: "Grafana"}
"""The ports that compose publishes besides those of the embedded stack."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM = "no Chromium on this machine (Debian: apt-get install chromium)"
_LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>[^\\]+))?")


@dataclass(frozen=True)
class Finding:
    """The result of one check. `lacks` is empty if all is well; `disables` says what does not work without it."""

    what: str
    lacks: str = ""
    disables: str = ""
    needed: bool = False

    def __str__(self) -> str:
        """Return the line to print."""
        if not self.lacks:
            return f"ok       {self.what}"
        mark = "MISSING " if self.needed else "optional"
        return f"{mark} {self.what}: {self.lacks}; without it: {self.disables}"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.doctor") -> int:
    """Print what was found and return 1 if something that `make run` needs is missing, else 0."""
    argparse.ArgumentParser(
        prog=prog, description="Check what this machine lacks, and what does not work without it."
    ).parse_args(arguments)
    findings = [
        python_version(sys.version_info[:2]),
        packages(ROOT / "requirements.lock"),
        disk(ROOT),
        writable(ROOT / "data"),
        *models(),
        *notifications(),
        *(stack_port(port, service) for port, service in _STACK_PORTS.items()),
        program("Chromium", CHROMIUMS, "tests in a browser are skipped, and make screenshots does not work"),
        program("Prometheus", ("prometheus",), "tests of scraping are skipped"),
        program("promtool", ("promtool",), "tests of alert rules are skipped"),
        docker(),
        *(compose_port(port, service) for port, service in _COMPOSE_PORTS.items()),
    ]
    for finding in findings:
        print(finding)
    missing = [finding for finding in findings if finding.needed and finding.lacks]
    print(f"make run cannot start: {len(missing)} missing" if missing else "make run has all that it needs")
    return 1 if missing else 0


def python_version(version: tuple[int, ...]) -> Finding:
    """Return whether this Python is one that the locks were made for."""
    low, high = ("{}.{}".format(*bound) for bound in _PYTHONS)
    what = f"Python {platform.python_version()}"
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return Finding(what)
    return Finding(what, f"Python {low} to {high} is supported", "everything", needed=True)


def packages(lock: Path) -> Finding:
    """Return whether the installed packages are those of the lock."""
    try:
        wanted = dict(locked(lock.read_text(encoding="utf-8").splitlines()))
    except OSError:
        return Finding("Python packages", f"{lock.name} cannot be read", "set-up", needed=True)
    wrong = [text for name, version in wanted.items() if (text := _difference(name, version))]
    what = f"Python packages as in {lock.name} ({len(wanted)})"
    if not wrong:
        return Finding(what)
    shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    return Finding(what, f"{shown}; run: make setup", "everything", needed=True)


def locked(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield (name, version) of each requirement of a lock that is meant for this machine."""
    for line in lines:
        if (match := _LOCKED.match(line)) and _applies(match["marker"]):
            yield match["name"], match["version"]


def _applies(marker: str | None) -> bool:
    if marker is None:
        return True
    try:
        from packaging.markers import Marker  # noqa: PLC0415 - absent where nothing is installed yet
    except ImportError:
        # Without it the marker cannot be read. The packages without a marker show whether the lock is installed.
        return False
    return Marker(marker.strip()).evaluate()


def _difference(name: str, version: str) -> str:
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    return "" if installed == version else f"{name} is {installed}, not {version}"


def disk(folder: Path) -> Finding:
    """Return whether there is space for the log, the snapshots and the reports."""
    free = shutil.disk_usage(folder).free
    what = f"disk space ({free / 2**30:.1f} GB free)"
    if free >= _ADVISED_BYTES:
        return Finding(what)
    if free >= _NEEDED_BYTES:
        return Finding(what, "less than 2 GB", "a long run may fill the disk")
    return Finding(what, "less than 200 MB", "the log cannot be written", needed=True)


def writable(folder: Path) -> Finding:
    """Return whether the data folder, or the one it would be made in, can be written."""
    place = folder if folder.exists() else folder.parent
    what = f"{folder.name}/ can be written"
    if os.access(place, os.W_OK):
        return Finding(what)
    return Finding(what, f"no permission for {place}", "nothing can be stored", needed=True)


def models() -> Iterable[Finding]:
    """Yield what is found of each model in VIGIE_MODELS_DIR, where that is set."""
    if not os.environ.get("VIGIE_MODELS_DIR"):
        return
    try:
        from api.installed_models import find_models  # noqa: PLC0415 - the packages may be missing
        from api.settings import Settings  # noqa: PLC0415 - as above
        from model.artifact.store import verify_artifact  # noqa: PLC0415 - as above

        installed = find_models(Settings()).models
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is found
        yield Finding("models in VIGIE_MODELS_DIR", str(error).splitlines()[0], "the API does not start", needed=True)
        return
    for model in installed:
        try:
            verify_artifact(model.folder)
            lacks = model.error or ""
        except Exception as error:  # noqa: BLE001 - as above
            lacks = str(error)
        yield Finding(f"model {model.name}", lacks, "this model does not serve; the others do")


def notifications() -> Iterable[Finding]:
    """Yield whether the addresses of VIGIE_NOTIFY_URLS can be used, where there are any; none of them is called."""
    if not (os.environ.get("VIGIE_NOTIFY_URLS") or os.environ.get("VIGIE_NOTIFY_URLS_FILE")):
        return
    what = "addresses in VIGIE_NOTIFY_URLS"
    try:
        from api.alerts.delivery import Addresses  # noqa: PLC0415 - the packages may be missing
        from api.settings import Settings  # noqa: PLC0415 - as above

        setting = Settings().notify_urls
        if setting is None:
            yield Finding(what, "there is none", "nobody is told of an alert by the API itself")
        else:
            yield Finding(f"{what} ({Addresses(setting)})")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is found
        text = str(error).splitlines()[0].removeprefix("VIGIE_NOTIFY_URLS: ")
        yield Finding(what, text, "the API does not start", needed=True)


def stack_port(port: int, service: str) -> Finding:
    """Return whether a port of the embedded stack is free, or used by a running Vigie."""
    what = f"port {port} for {service}"
    if is_free(HOST, port):
        return Finding(what)
    if runs_here(port):
        return Finding(f"{what} (in use by a running Vigie)")
    option = "--api-port" if port == API_PORT else "--ui-port"
    return Finding(
        what, f"taken (see: lsof -i :{port})", f"make run; start it with vigie run {option} PORT", needed=True
    )


def runs_here(port: int) -> bool:
    """Return whether what listens on the port answers as this project's API or Evidently UI does."""
    for path, key in (("/health/live", "status"), ("/api/version", "version")):
        try:
            # Without the proxy of the shell, which cannot reach this machine's ports.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://{HOST}:{port}{path}", timeout=2) as answer:
                if key in json.load(answer):
                    return True
        except (OSError, ValueError, TypeError):
            continue
    return False


def compose_port(port: int, service: str) -> Finding:
    """Return whether a port of the composed stack is free."""
    what = f"port {port} for {service}"
    if is_free(HOST, port):
        return Finding(what)
    return Finding(what, "taken", f"make up, unless {service} itself uses the port")


def program(name: str, commands: Iterable[str], disables: str) -> Finding:
    """Return whether one of these commands is on the path."""
    found = find_program(commands)
    return Finding(f"{name} ({found})") if found else Finding(name, "not on the path", disables)


def find_program(commands: Iterable[str] = CHROMIUMS) -> str | None:
    """Return the path of the first of these commands that this machine has, by default of a Chromium; else None."""
    return next(filter(None, map(shutil.which, commands)), None)


def docker() -> Finding:
    """Return whether Docker's daemon answers and Compose is there."""
    disables = "make up and make down"
    if shutil.which("docker") is None:
        return Finding("Docker", "not on the path", disables)
    if not _succeeds("docker", "info"):
        return Finding("Docker", "its daemon does not answer", disables)
    if not _succeeds("docker", "compose", "version"):
        return Finding("Docker", "Compose is not installed", disables)
    return Finding("Docker with Compose")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    sys.exit(main())
