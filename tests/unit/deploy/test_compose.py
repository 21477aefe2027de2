"""The compose files, what they mount, and the workflows: what can be told without an engine."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.secrets import RECEIVERS

ROOT = Path(__file__).parents[3]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
FILES: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["secrets"]
READ_ONCE = {"postgres_password", "postgres_account"}
"""Those that count only while a volume is made, and the account, which is no secret."""


def digests(secret: str) -> set[str]:
    """The variables with the digests of the files that a secret may come from."""
    name = Path(FILES[secret]["file"]).name
    kinds = ("sqlite", "postgres") if "VIGIE_DATABASE" in name else ("",)
    return {f"VIGIE_DIGEST_{re.sub(r'[$][{].*[}]', kind, name).upper()}" for kind in kinds}


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if "secrets" in service])
def test_a_container_is_replaced_when_one_of_its_secrets_changes(service: str) -> None:
    named = [one if isinstance(one, str) else one["source"] for one in SERVICES[service]["secrets"]]
    expected = set().union(*(digests(name) for name in named if name not in READ_ONCE))
    label = SERVICES[service].get("labels", {}).get("vigie.secrets", "")
    assert set(re.findall(r"[$][{](\w+):-[}]", label)) == expected


def test_alertmanager_starts_again_when_a_receiver_is_switched_on_or_off() -> None:
    label = SERVICES["alertmanager"]["labels"]["vigie.secrets"]
    assert re.findall(r"[$][{](\w+):-[}]", label) == [f"VIGIE_DIGEST_{name.upper()}" for name in RECEIVERS]
    script = (ROOT / "deploy/alertmanager/start.sh").read_text(encoding="utf-8")
    assert f"for name in {' '.join(RECEIVERS)}; do" in script


def test_links_in_alerts_lead_where_the_api_says_that_grafana_is() -> None:
    named = SERVICES["prometheus"]["environment"]["VIGIE_GRAFANA_URL"]
    assert named == SERVICES["api"]["environment"]["VIGIE_GRAFANA_URL"]
    assert named == SERVICES["grafana"]["environment"]["GF_SERVER_ROOT_URL"]


@pytest.mark.parametrize("there", [(), ("slack_url",), ("teams_url", "pagerduty_key"), RECEIVERS])
def test_alertmanager_s_configuration_has_the_receivers_whose_secret_is_there(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    (tmp_path / "secrets").mkdir()
    for name in RECEIVERS:
        (tmp_path / "secrets" / name).write_text("a secret" if name in there else "", encoding="utf-8")
    shipped = (ROOT / "observability/alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    (tmp_path / "alertmanager.yml").write_text(shipped, encoding="utf-8")
    program = tmp_path / "alertmanager"
    program.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ALERTMANAGER_FOLDER": str(tmp_path),
        "ALERTMANAGER_CONFIG": str(tmp_path / "made.yml"),
    }
    command = ["sh", str(ROOT / "deploy/alertmanager/start.sh"), "--storage.path=/alertmanager"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == [f"--config.file={tmp_path}/made.yml", "--storage.path=/alertmanager"]
    kinds = {"slack_url": "slack_configs", "teams_url": "msteamsv2_configs", "pagerduty_key": "pagerduty_configs"}
    expected = yaml.safe_load(shipped)
    for receiver in expected["receivers"]:
        for name in set(RECEIVERS) - set(there):
            receiver.pop(kinds[name], None)
    assert yaml.safe_load((tmp_path / "made.yml").read_text(encoding="utf-8")) == expected


def test_only_the_filter_has_the_engine_s_socket_and_no_service_the_whole_host() -> None:
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert {name for name, listed in mounts.items() if "docker.sock" in str(listed)} == {"engine-filter"}
    assert {name for name, listed in mounts.items() if any(one.startswith("/:") for one in listed)} == {"node-exporter"}


@pytest.mark.parametrize(("service", "variable"), [("api", ""), ("evidently-ui", "EVIDENTLY_")])
def test_names_of_this_machine_the_service_the_site_and_the_user_are_answered(service: str, variable: str) -> None:
    named = SERVICES[service]["environment"][f"VIGIE_{variable}ALLOWED_HOSTS"]
    optional = "${VIGIE_SITE:+,}${VIGIE_SITE:-}${VIGIE_ALLOWED_HOSTS:+,}${VIGIE_ALLOWED_HOSTS:-}"
    assert named == f"127.0.0.1,localhost,[::1],{service}{optional}"


def test_every_image_has_the_number_of_a_version() -> None:
    images = [str(service["image"]) for service in SERVICES.values()]
    images += re.findall(r"^ARG \w+_IMAGE=(.+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    foreign = {image for image in images if not image.startswith("vigie-")}
    assert len(foreign) > 5
    assert not [image for image in foreign if not re.search(r":v?\d+(\.\d+)*", image)]


@pytest.mark.parametrize(("extras", "installed"), [("", []), ("boosting", ["-r", "requirements-boosting.lock"])])
def test_the_image_of_the_api_gets_the_optional_group_that_is_asked_for(extras: str, installed: list[str]) -> None:
    builds = [service["build"] for service in SERVICES.values() if service.get("build", {}).get("target") == "api"]
    assert builds
    assert all(build["args"] == {"EXTRAS": "${VIGIE_EXTRAS:-}"} for build in builds)
    stages = re.split(r"^(?=FROM )", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (packages,) = [stage for stage in stages if " AS api-packages\n" in stage]
    assert "\nARG EXTRAS=\n" in packages
    (lock,) = re.findall(r"-r requirements\.lock (\S.*?) \\", packages)
    asked = subprocess.run(["sh", "-c", f"echo {lock}"], env={"EXTRAS": extras}, stdout=subprocess.PIPE, check=True)
    assert asked.stdout.decode().split() == installed
    copied = re.findall(r"^COPY (.+) \./$", packages, re.MULTILINE)[0].split()
    assert {*installed[1:], "requirements.lock"} <= set(copied)
    assert all((ROOT / name).is_file() for name in copied)


def test_every_action_is_a_commit_and_updates_are_proposed() -> None:
    workflows = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml"))
    used = re.findall(r"uses: (.+)", workflows)
    assert used
    assert not [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", one)]
    proposed = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {one["package-ecosystem"] for one in proposed} == {"github-actions", "docker", "docker-compose"}


@pytest.mark.parametrize("works", [True, False])
def test_grafana_gets_the_password_of_the_secret_at_every_start_but_the_first(tmp_path: Path, works: bool) -> None:
    """Its own programs are not here: a stand-in notes how it is called, and no more than that is tested."""
    calls = tmp_path / "calls"
    program = tmp_path / "grafana"
    program.write_text(f'#!/bin/sh\necho "$@" "$(cat)" >>{calls}\nexit {0 if works else 1}\n', encoding="utf-8")
    program.chmod(0o755)
    start = (ROOT / "deploy/grafana/start.sh").read_text(encoding="utf-8").replace("exec /run.sh", "echo started")
    (tmp_path / "secret").write_text("the new password", encoding="utf-8")
    places = {"DATA": tmp_path, "HOME": "/usr/share/grafana", "CONFIG": "/etc/grafana/grafana.ini"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{tmp_path}/secret"}
    environment |= {f"GF_PATHS_{name}": str(place) for name, place in places.items()}

    def started() -> str:
        done = subprocess.run(
            ["sh", "-c", start], env=environment, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout.strip()

    assert started() == "started"
    assert not calls.exists()
    (tmp_path / "grafana.db").write_text("there is one", encoding="utf-8")
    assert started() == ("started" if works else "")
    assert "admin reset-admin-password --password-from-stdin the new password" in calls.read_text(encoding="utf-8")
