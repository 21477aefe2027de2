"""From a stopped API to a person: the shipped rules and routes, with short times, in real processes."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.observability.conftest import GRAFANA, Receiver, alertmanager, await_until, prometheus
from tests.observability import ALERTMANAGER, PROMETHEUS, ROOT, RULES, read_yaml, without, without_url_files
from tests.servers import Server, free_port


def quick_alertmanager(folder: Path, url: str) -> Path:
    """The shipped routes without their waits, to webhooks alone."""
    text = without_url_files(ALERTMANAGER.read_text(encoding="utf-8"), url)
    text = without(text, "email", "slack", "msteamsv2", "pagerduty")
    text = re.sub(r"group_wait: \S+", "group_wait: 0s", text)
    text = re.sub(r"group_interval: \S+", "group_interval: 1s", text)
    path = folder / "alertmanager.yml"
    path.write_text(text, encoding="utf-8")
    return path


def quick_prometheus(folder: Path, targets: dict[str, list[str]]) -> Path:
    """The shipped configuration with the given targets, a scrape each second and a `for` of three."""
    rules = folder / "rules"
    rules.mkdir()
    for path in RULES:
        text = re.sub(r"( for:) \w+", r"\1 3s", path.read_text(encoding="utf-8"))
        (rules / path.name).write_text(text, encoding="utf-8")
    content = read_yaml(PROMETHEUS)
    content["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = targets["alertmanager"]
    content["scrape_configs"] = [job for job in content["scrape_configs"] if job["job_name"] in targets]
    for job in content["scrape_configs"]:
        job["static_configs"][0]["targets"] = targets[job["job_name"]]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextmanager
def api(folder: Path, artifact: Path, port: int) -> Iterator[None]:
    """A real API; it is stopped by its pid at the end of the block."""
    environment = {
        **os.environ,
        "VIGIE_PORT": str(port),
        "VIGIE_MODEL_DIR": str(artifact),
        "VIGIE_DATABASE_URL": f"sqlite:///{folder}/vigie.db",
        "VIGIE_SNAPSHOTS": "false",
    }
    process = Server([sys.executable, "-m", "api"], folder / "api.log", cwd=ROOT, env=environment)
    try:
        await_until(lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success)
        yield
    finally:
        process.stop()


def test_a_stopped_api_is_notified_and_so_is_its_recovery(
    iris_artifact: Path, tmp_path: Path, receiver: Receiver
) -> None:
    api_port, am_port, prometheus_port = free_port(), free_port(), free_port()
    targets = {"api": [f"127.0.0.1:{api_port}"], "alertmanager": [f"127.0.0.1:{am_port}"]}
    prometheus_config = quick_prometheus(tmp_path, targets)
    down = {"alertname": "ApiDown", "instance": f"127.0.0.1:{api_port}"}
    with ExitStack() as monitors:
        with api(tmp_path, iris_artifact, api_port):
            monitors.enter_context(alertmanager(tmp_path, quick_alertmanager(tmp_path, receiver.url), am_port))
            url = monitors.enter_context(prometheus(tmp_path, prometheus_config, prometheus_port))
            await_until(lambda: value(url, 'up{job="api"}') == "1")
            await_until(lambda: receiver.received("/deadman", "firing", alertname="Watchdog"))
            assert receiver.received("/webhook", "firing", **down) is None
        alert = await_until(lambda: receiver.received("/webhook", "firing", **down))
        assert alert["annotations"]["summary"] == "The API cannot be scraped: see whether it runs, and start it."
        assert alert["annotations"]["runbook_url"] == "docs/runbook.md#apidown"
        assert alert["annotations"]["dashboard"] == f"{GRAFANA}/d/vigie-overview"
        assert "grafana" not in alert["labels"], "the address is in the links alone"
        with api(tmp_path, iris_artifact, api_port):
            await_until(lambda: receiver.received("/webhook", "resolved", **down))


def value(url: str, expression: str) -> str | None:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
    result = answer["data"]["result"]
    return str(result[0]["value"][1]) if result else None


INHIBITED = [
    ({"alertname": "ApiDown", "subject": "api"}, {"alertname": "ApiErrorBudgetBurningFast", "subject": "api"}),
    ({"alertname": "ApiDown", "subject": "api"}, {"alertname": "EvidentlyDown", "subject": "monitors"}),
    ({"alertname": "EvidentlyDown"}, {"alertname": "SnapshotsLate", "subject": "api"}),
    (
        {"alertname": "ContainerMissing", "container": "api"},
        {"alertname": "ContainerRestarting", "container": "api", "subject": "containers"},
    ),
    ({"alertname": "MonitorDown", "job": "cadvisor"}, {"alertname": "ContainerMissing", "subject": "containers"}),
    ({"alertname": "MonitorDown", "job": "node-exporter"}, {"alertname": "HostLoadHigh", "subject": "host"}),
    (
        {"alertname": "HostDiskAlmostFull", "mountpoint": "/"},
        {"alertname": "HostDiskFillsSoon", "mountpoint": "/"},
    ),
    (
        {"alertname": "ApiErrorBudgetBurningFast", "slo": "errors", "severity": "critical"},
        {"alertname": "ApiErrorBudgetBurningSlowly", "slo": "errors", "severity": "warning"},
    ),
]
STILL_SENT = [
    ({"alertname": "ApiDown", "subject": "api"}, {"alertname": "HostLoadHigh", "subject": "host"}),
    ({"alertname": "ApiDown", "subject": "api"}, {"alertname": "ModelDataDrift", "check": "data_drift"}),
    ({"alertname": "MonitorDown", "job": "grafana"}, {"alertname": "HostLoadHigh", "subject": "host"}),
    (
        {"alertname": "ContainerMissing", "container": "api"},
        {"alertname": "ContainerRestarting", "container": "grafana", "subject": "containers"},
    ),
    (
        {"alertname": "ApiErrorBudgetBurningFast", "slo": "errors", "severity": "critical"},
        {"alertname": "ApiLatencyBudgetBurningSlowly", "slo": "latency", "severity": "warning"},
    ),
]


@pytest.fixture(scope="module")
def silent_alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("alertmanager")
    with alertmanager(folder, quick_alertmanager(folder, f"http://127.0.0.1:{free_port()}"), free_port()) as url:
        yield url


@pytest.mark.parametrize(
    ("cause", "symptom", "silenced"),
    [(*pair, True) for pair in INHIBITED] + [(*pair, False) for pair in STILL_SENT],
    ids=lambda one: one["alertname"] if isinstance(one, dict) else str(one),
)
def test_what_is_down_silences_its_symptoms_and_nothing_else(
    silent_alertmanager: str, cause: dict[str, str], symptom: dict[str, str], silenced: bool
) -> None:
    url = f"{silent_alertmanager}/api/v2/alerts"
    httpx.post(url, json=[{"labels": cause}, {"labels": symptom}]).raise_for_status()

    def state() -> dict[str, Any] | None:
        for alert in httpx.get(url).json():
            if alert["labels"] == symptom and alert["status"]["state"] != "unprocessed":
                status: dict[str, Any] = alert["status"]
                return status
        return None

    try:
        if silenced:
            await_until(lambda: (found := state()) is not None and found["state"] == "suppressed", 20)
        else:
            assert await_until(state, 20)["state"] == "active"
    finally:
        ended = datetime.now(UTC).isoformat()
        over = [{"labels": labels, "endsAt": ended} for labels in (cause, symptom)]
        httpx.post(url, json=over).raise_for_status()
