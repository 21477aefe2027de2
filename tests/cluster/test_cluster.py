"""Vigie on a real Kubernetes: what the API server says of the manifests, and what becomes of them."""

import json
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import ROOT, Installation
from tests.cluster.node import ADDRESS, Node
from tests.compose.conftest import awaited

pytestmark = pytest.mark.timeout(5400)
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
HELD = "vigie_snapshot_lease_held"


def lost(wanted: Any, stored: Any, path: str = "") -> list[str]:
    """Return the fields of an object that the API server did not store as they were given."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        return [line for key, value in wanted.items() for line in lost(value, stored.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        pairs = enumerate(zip(wanted, stored, strict=True))
        return [line for number, (one, other) in pairs for line in lost(one, other, f"{path}[{number}]")]
    return [] if wanted == stored else [f"{path}: {wanted} became {stored}"]


def predict(vigie: Installation) -> list[str]:
    """Predict 60 rows and return their ids."""
    rows = [{**ROW, "sepal_length": 4.5 + number % 20 / 10} for number in range(60)]
    answer = vigie.call("POST", "/predict/batch", {"rows": rows})
    return [item["prediction_id"] for item in answer["predictions"]]


def posted(vigie: Installation) -> list[dict[str, Any]]:
    """Return the windows with rows whose snapshot is in Evidently UI."""
    windows = vigie.call("GET", "/snapshots")["windows"]
    return [window for window in windows if window["status"] == "posted" and window["rows"]]


def restarts(vigie: Installation) -> int:
    """Return how often a container of the API was started again."""
    return sum(status["restartCount"] for pod in vigie.pods().values() for status in pod["status"]["containerStatuses"])


def test_the_api_server_takes_every_object_and_loses_no_field(installation: Installation, node: Node) -> None:
    node.kubectl("create", "namespace", "vigie")  # a dry run makes none for the objects in it
    tried = installation.apply("--dry-run=server", "--server-side", "--validate=strict", "--force-conflicts")
    objects = {(one["kind"], one["metadata"]["name"]): one for one in installation.objects()}
    assert len(tried.splitlines()) == len(objects)
    installation.apply("--validate=strict")
    stored = {(one["kind"], one["metadata"]["name"]): one for one in installation.stored()}
    assert stored.keys() == objects.keys()
    changed = [line for name, one in objects.items() for line in lost(one, stored[name], "/".join(name))]
    assert not changed, "\n".join(changed)


@pytest.mark.parametrize("file", ["api", "requests"])
def test_a_rule_file_is_the_spec_of_a_prometheus_rule(node: Node, file: str) -> None:
    rules = yaml.safe_load((ROOT / f"observability/prometheus/rules/{file}.yml").read_text(encoding="utf-8"))
    rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": file}}
    node.kubectl("create", "--validate=strict", "-f", "-", stdin=json.dumps(rule | {"spec": rules}))


def test_the_job_trains_the_model_that_both_replicas_serve(vigie: Installation) -> None:
    (job,) = vigie.pods("model").values()
    assert job["status"]["phase"] == "Succeeded"
    assert len(vigie.ready()) >= 2
    assert len({vigie.call("GET", "/model", host=address)["version"] for address in vigie.addresses()}) == 1


def test_the_namespace_refuses_a_pod_that_may_run_as_root(vigie: Installation) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": "vigie"}}
    pod |= {"spec": {"containers": [{"name": "root", "image": "vigie-api"}]}}
    assert 'violates PodSecurity "restricted' in vigie.node.refused("create", "-f", "-", stdin=json.dumps(pod))


def test_predictions_become_a_snapshot_whose_report_every_replica_serves(vigie: Installation) -> None:
    assert len(predict(vigie)) == 60
    window = awaited(lambda: posted(vigie), 180, "a posted window")[-1]
    path = window["report_url"].partition("/reports/")[2]
    for address in vigie.addresses():
        assert "<html" in vigie.call("GET", f"/reports/{path}", host=address)


def test_the_network_policies_are_kept(vigie: Installation) -> None:
    api, ui = vigie.addresses()[0], vigie.addresses("evidently-ui")[0]
    ingress, prometheus, stranger = (
        ("ingress-nginx", "caller"),
        ("monitoring", "prometheus"),
        ("default", "stranger"),
    )
    for caller, host, port in ((ingress, api, "8000"), (ingress, ui, "8001"), (prometheus, api, "8000")):
        assert vigie.inside(*caller, "connects", host, port) == "connected", (caller, host)
    for caller, host, port in ((stranger, api, "8000"), (stranger, ui, "8001"), (prometheus, ui, "8001")):
        assert vigie.inside(*caller, "connects", host, port) != "connected", (caller, host)


def test_the_pods_reach_what_the_policies_name_and_nothing_else(vigie: Installation) -> None:
    api, ui = vigie.addresses()[0], vigie.addresses("evidently-ui")[0]
    (replica, *_), (screen,) = vigie.ready(), vigie.ready("evidently-ui")
    connect = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    command = ["--", "python", "-c", connect]
    for pod, host, port in ((replica, ui, "8001"), (replica, ADDRESS, "5432"), (screen, ADDRESS, "5432")):
        vigie.node.kubectl("exec", "-n", "vigie", pod, *command, host, port)
    for pod, host, port in ((replica, ADDRESS, "6443"), (screen, ADDRESS, "6443"), (screen, api, "8000")):
        assert "Error" in vigie.node.refused("exec", "-n", "vigie", pod, *command, host, port)


def test_another_replica_takes_the_lease_of_one_that_is_killed(vigie: Installation) -> None:
    (holder,) = [pod for pod in vigie.pods() if vigie.lease_holder().startswith(pod)]
    before, known = restarts(vigie), {window["start"] for window in posted(vigie)}
    container = vigie.pods()[holder]["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    vigie.node.kill_container(container)
    started = monotonic()
    awaited(lambda: not vigie.lease_holder().startswith(holder), 60, "another replica with the lease")
    print(f"\nthe lease moved {monotonic() - started:.1f} s after its holder was killed")  # noqa: T201 - a figure of the docs
    (other,) = [pod for pod in vigie.ready() if vigie.lease_holder().startswith(pod)]
    awaited(lambda: vigie.metric(other, HELD) == 1, 60, "the metric of the new holder")
    predict(vigie)
    awaited(lambda: {window["start"] for window in posted(vigie)} - known, 180, "the next snapshot")
    awaited(lambda: len(vigie.ready()) >= 2, 180, "two replicas")
    assert restarts(vigie) == before + 1
    starts = [window["start"] for window in vigie.call("GET", "/snapshots")["windows"]]
    assert len(starts) == len(set(starts))


def test_a_new_version_rolls_out_without_a_failed_request(vigie: Installation) -> None:
    old = set(vigie.ready())
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(vigie.load, 90, 2, connections) for connections in ("keep", "close")]
        vigie.set_images("0.1.1")
        vigie.node.kubectl("delete", "job", "model", "-n", "vigie", "--ignore-not-found")
        vigie.apply()
        vigie.node.kubectl("rollout", "status", "deployment/api", "-n", "vigie", "--timeout=180s", seconds=200)
        assert not any(run.done() for run in runs), "the load ended before the new version was there"
        results = [run.result() for run in runs]
    assert not old & set(vigie.ready())
    print(f"\nduring the roll-out: {results}")  # noqa: T201 - a figure of the docs
    for result in results:
        assert set(result["counts"]) == {"200"}, result


def test_the_autoscaler_adds_replicas_under_load(vigie: Installation) -> None:
    autoscaler = lambda: vigie.node.read("hpa", "api", "-n", "vigie")["status"]  # noqa: E731
    awaited(lambda: autoscaler().get("currentMetrics"), 180, "the pods' load")
    with ThreadPoolExecutor() as threads:
        run = threads.submit(vigie.load, 180, 4, "keep")
        awaited(lambda: len(vigie.ready()) > 2, 200, "a third replica")
        assert set(run.result()["counts"]) == {"200"}
