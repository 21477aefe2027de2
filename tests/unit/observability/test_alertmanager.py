"""Alertmanager's configuration, asked of amtool."""

import shutil
import subprocess
from pathlib import Path

import pytest

from evidently_workspace.checks import CHECKS, Check
from tests.observability import ALERTMANAGER, alerts, read_yaml, without, without_url_files

pytestmark = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="no amtool on this machine (Debian: apt-get install prometheus-alertmanager)"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """What Debian's Alertmanager understands of it."""
    path = tmp_path / "alertmanager.yml"
    text = without(without_url_files(ALERTMANAGER.read_text(encoding="utf-8"), "http://127.0.0.1:1"), "msteamsv2")
    path.write_text(text, encoding="utf-8")
    return path


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def receiver(config: Path, **labels: str) -> str:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={config}", *pairs)


def test_the_configuration_is_sound(config: Path) -> None:
    assert "SUCCESS" in amtool("check-config", str(config))


@pytest.mark.parametrize("name", alerts())
def test_severity_decides_who_is_notified(config: Path, name: str) -> None:
    notified = {"critical": "on-call", "warning": "channel", "none": "deadman"}
    labels = alerts()[name]["labels"]
    assert receiver(config, alertname=name, **labels) == notified[labels["severity"]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.alertname)
def test_alerts_on_the_model_s_health_take_the_same_way(config: Path, check: Check) -> None:
    labels = {"alertname": check.alertname, "check": check.name, "severity": check.severity}
    notified = {"critical": "on-call", "warning": "channel"}[labels["severity"]]
    assert receiver(config, model="iris", **labels) == notified


def test_an_alert_without_severity_is_still_sent(config: Path) -> None:
    assert receiver(config, alertname="SomethingNew") == "channel"


def test_every_secret_is_read_from_a_file() -> None:
    text = ALERTMANAGER.read_text(encoding="utf-8")
    content = read_yaml(ALERTMANAGER)
    assert "smtp_auth_password" not in content["global"]
    assert content["global"]["smtp_auth_password_file"].startswith("/etc/alertmanager/secrets/")
    hooks = [hook for receiver in content["receivers"] for hook in receiver.get("webhook_configs", [])]
    assert hooks
    assert all(hook["url_file"].startswith("/etc/alertmanager/secrets/") and "url" not in hook for hook in hooks)
    assert "http://" not in text
    for kind, key in (("slack", "api_url"), ("msteamsv2", "webhook_url"), ("pagerduty", "routing_key")):
        named = [one for receiver in content["receivers"] for one in receiver.get(f"{kind}_configs", [])]
        assert named
        assert all(one[f"{key}_file"].startswith("/etc/alertmanager/secrets/") and key not in one for one in named)


def test_chats_get_every_alert_and_a_pager_critical_ones() -> None:
    kinds = {
        receiver["name"]: {key.removesuffix("_configs") for key in receiver} - {"name"}
        for receiver in read_yaml(ALERTMANAGER)["receivers"]
    }
    assert kinds["channel"] == {"webhook", "slack", "msteamsv2"}
    assert kinds["on-call"] == {"webhook", "email", "slack", "msteamsv2", "pagerduty"}
    assert (kinds["deadman"], kinds["nobody"]) == ({"webhook"}, set())


def test_what_inhibits_and_what_is_inhibited_exists() -> None:
    known = set(alerts())
    for rule in read_yaml(ALERTMANAGER)["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            name, _, wanted = matcher.partition("=")
            if name == "alertname" and not wanted.startswith("~"):
                assert wanted.strip('"') in known, matcher
            if matcher.startswith('alertname=~"') and "+" not in matcher:
                assert set(wanted.strip('~"').split("|")) <= known, matcher
