"""Every expression of the dashboards and every metric of the rules, asked of a real Prometheus.

It has scraped the real API under a little load, a real node-exporter, a real Alertmanager, itself, and the text of
cAdvisor on a host of each cgroup kind, through the shipped configuration.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from observability.grafana.builders.__main__ import FOLDER
from tests.integration.observability.conftest import (
    alertmanager,
    await_until,
    prometheus,
    running,
)
from tests.integration.observability.test_alerting import api, quick_alertmanager, quick_prometheus
from tests.observability import rules
from tests.servers import free_port

CAPTURED = Path(__file__).parent / "captured"
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
NO_DATA = {
    "Last snapshot": "none is posted, as there is no Evidently UI beside this API",
    "Surroundings last looked at": "this API takes no snapshots, so it does not look",
    "Model alerts by severity": "this API takes no snapshots, so it has no alerts",
    "Disk free in a day": "a forecast needs three hours of history; test_outage.py has them",
}
"""Panels that rightly show nothing here."""
OF_SNAPSHOTS = {"vigie_model_alerts"}
"""Metrics that this API does not have, as it takes no snapshots."""
OF_THE_MACHINE = {
    "node_disk_read_bytes_total": "a container sees no disks",
    "node_disk_written_bytes_total": "a container sees no disks",
    "node_filesystem_avail_bytes": "a container may see overlays alone",
    "node_filesystem_size_bytes": "a container may see overlays alone",
    "node_filesystem_readonly": "a container may see overlays alone",
    "node_pressure_cpu_waiting_seconds_total": "the kernel may be built without PSI",
    "node_pressure_io_waiting_seconds_total": "the kernel may be built without PSI",
    "node_pressure_memory_waiting_seconds_total": "the kernel may be built without PSI",
    "node_timex_offset_seconds": "a sandbox may refuse adjtimex",
    "node_timex_sync_status": "a sandbox may refuse adjtimex",
    "node_timex_maxerror_seconds": "a sandbox may refuse adjtimex",
    "node_vmstat_oom_kill": "a sandbox may hide it",
}
"""Metrics that node-exporter has only where the machine lets it."""
METRIC = re.compile(r"\b(?:job:[a-z_0-9:]+|(?:http|vigie|process|container|node|prometheus|alertmanager)_[a-z0-9_]+)\b")
QUERIES = [
    pytest.param(panel["title"], target["expr"], id=f"{path.stem}: {panel['title']}: {target['refId']}")
    for path in sorted(FOLDER.glob("*.json"))
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    for target in panel.get("targets", [])
]


def metrics_in(expression: str) -> set[str]:
    return set(METRIC.findall(re.sub(r'"[^"]*"', "", expression)))


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/api/v1/query", data={"query": expression}, timeout=30).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def filled_in(expression: str) -> str:
    for name, value in {
        "$__rate_interval": "1m",
        "$instance": ".*",
        "$handler": ".*",
        "$container": ".*",
        "$model": ".*",
    }.items():
        expression = expression.replace(name, value)
    assert not re.search(r"\$[a-z_{]", expression)  # $1 is a group of label_replace
    return expression


def counting(text: str) -> Callable[[Request], Response]:
    """Answer with the text, in which CPU periods go on as they do on a live host."""
    scrapes = count()

    def answer(_request: Request) -> Response:
        grown = 10 * next(scrapes)
        pattern = re.compile(r"^(container_cpu_cfs_periods_total{.*} )(\d+)$", re.MULTILINE)
        body = pattern.sub(lambda found: f"{found[1]}{int(found[2]) + grown}", text)
        return Response(body, content_type="text/plain; version=0.0.4")

    return answer


def send_a_little(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for _ in range(20):
            answer = client.post("/predict", json=SETOSA).raise_for_status().json()
        client.post("/predict/batch", json={"rows": [SETOSA] * 50}).raise_for_status()
        label = {"prediction_id": answer["prediction_id"], "label": "setosa"}
        client.post("/feedback", json={"labels": [label]}).raise_for_status()
        assert client.post("/predict", json={}).status_code == 422
        assert client.get("/nowhere").status_code == 404


@pytest.fixture(scope="module")
def scraped(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has all of it."""
    for program in ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine (Debian: apt-get install {program})")
    folder = tmp_path_factory.mktemp("scraped")
    ports = {job: free_port() for job in ("api", "alertmanager", "node-exporter", "prometheus")}
    targets = {job: [f"127.0.0.1:{port}"] for job, port in ports.items()}
    node_exporter = ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{ports['node-exporter']}"]
    with ExitStack() as stack:
        targets["cadvisor"] = []
        for path in sorted(CAPTURED.glob("cadvisor_*.txt")):
            cadvisor = stack.enter_context(HTTPServer("127.0.0.1", free_port()))
            cadvisor.expect_request("/metrics").respond_with_handler(counting(path.read_text(encoding="utf-8")))
            targets["cadvisor"].append(f"127.0.0.1:{cadvisor.port}")
        targets["grafana"] = [f"127.0.0.1:{free_port()}"]  # down, so that something fires
        stack.enter_context(api(folder, iris_artifact, ports["api"]))
        stack.enter_context(running(node_exporter, folder, f"http://127.0.0.1:{ports['node-exporter']}/"))
        config = quick_alertmanager(folder, f"http://127.0.0.1:{free_port()}")
        stack.enter_context(alertmanager(folder, config, ports["alertmanager"]))
        url = stack.enter_context(prometheus(folder, quick_prometheus(folder, targets), ports["prometheus"]))
        await_until(lambda: len(ask(url, "up == 1")) == 6)
        address = f"http://127.0.0.1:{ports['api']}"
        send_a_little(address)
        await_until(lambda: ask(url, 'http_requests_total{handler="/predict", status="4xx"} > 0'))
        await_until(lambda: ask(url, 'http_request_duration_seconds_count{handler="/predict"} > 0'))
        send_a_little(address)  # a series shows a rate once it has been seen to grow
        await_until(lambda: ask(url, "job:http_requests_failed:ratio_rate3d"))
        await_until(lambda: ask(url, "job:predictions_slow:ratio_rate3d"))
        await_until(lambda: ask(url, 'ALERTS{alertname="MonitorDown", alertstate="firing"}'))
        yield url


def known(url: str) -> set[str]:
    return set(httpx.get(f"{url}/api/v1/label/__name__/values").json()["data"])


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_a_panel_s_expression_returns_data(scraped: str, title: str, expression: str) -> None:
    found = ask(scraped, filled_in(expression))
    if title in NO_DATA:
        assert found == []
        return
    reasons = {OF_THE_MACHINE[name] for name in metrics_in(expression) & (set(OF_THE_MACHINE) - known(scraped))}
    if reasons:
        pytest.skip("; ".join(sorted(reasons)))
    assert found


def test_every_metric_of_rules_and_dashboards_exists(scraped: str) -> None:
    expressions = [str(param.values[1]) for param in QUERIES] + [rule["expr"] for rule in rules()]
    named = set().union(*(metrics_in(expression) for expression in expressions))
    assert len(named) > 60
    assert named - known(scraped) - set(OF_THE_MACHINE) - OF_SNAPSHOTS == set()


def test_every_annotation_is_understood_and_nothing_critical_is_marked(scraped: str) -> None:
    """What they mark takes longer than this Prometheus lives: test_outage.py holds it."""
    for path in FOLDER.glob("*.json"):
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]["list"]:
            found = ask(scraped, annotation["expr"])
            assert "MonitorDown" not in json.dumps(found), "a warning"


def test_containers_of_both_cgroup_kinds_are_named_by_their_service(scraped: str) -> None:
    found = ask(scraped, "count by (container) (container_last_seen)")
    assert {row["metric"]["container"]: row["value"][1] for row in found} == {
        "api": "2",
        "evidently-ui": "2",
        "grafana": "2",
    }


@pytest.mark.parametrize("kind", [0, 1])
def test_cpu_and_memory_of_a_container_come_out_the_same_on_both_cgroup_kinds(scraped: str, kind: int) -> None:
    instance = ask(scraped, 'up{job="cadvisor"}')[kind]["metric"]["instance"]
    here = f'{{instance="{instance}", container="api"}}'
    (cpu,) = ask(scraped, f"sum by (container) (container_cpu_usage_seconds_total{here})")
    assert float(cpu["value"][1]) == 80.75
    share = f"container_memory_working_set_bytes{here} / (container_spec_memory_limit_bytes{here} > 0)"
    assert float(ask(scraped, share)[0]["value"][1]) == pytest.approx(0.356, abs=0.01)


def test_no_series_come_of_cgroups_that_are_no_containers(scraped: str) -> None:
    assert ask(scraped, 'container_last_seen{id="/"}') == []
    assert ask(scraped, '{__name__=~"container_.*", container_label_com_docker_compose_service!=""}') == []
