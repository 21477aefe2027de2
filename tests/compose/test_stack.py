"""The whole stack in containers: brought up, used, hurt, restarted, and nothing lost."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_diabetes

from tests.compose.conftest import Compose, awaited, check_hardened, running

pytestmark = pytest.mark.timeout(2400)

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture(scope="module")
def compose(checkout: Path) -> Iterator[Compose]:
    with running(Compose(checkout), "compose.log") as stack:
        yield stack


def predict(compose: Compose, rows: int = 60) -> list[str]:
    """Predict rows, give their labels, and return the ids."""
    varied = [{**ROW, "sepal_length": 4.5 + number % 20 / 10} for number in range(rows)]
    answer = compose.api("POST", "/predict/batch", json={"rows": varied})
    return [item["prediction_id"] for item in answer["predictions"]]


def known(compose: Compose, ids: list[str]) -> bool:
    """Whether every prediction is in the log: only then is a label for it accepted."""
    labels = [{"prediction_id": key, "label": "setosa"} for key in ids]
    receipt = compose.api("POST", "/feedback", json={"labels": labels})
    return bool(receipt == {"accepted": len(ids), "unknown": []})


def posted(compose: Compose) -> dict[str, Any] | None:
    windows = compose.api("GET", "/snapshots")["windows"]
    return next((window for window in windows if window["status"] == "posted" and window["rows"]), None)


def test_every_service_is_healthy_and_a_model_was_trained(compose: Compose) -> None:
    for service in compose.services():
        state = compose.inspect(service)["State"]
        if service == "model":
            assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        else:
            assert state["Health"]["Status"] == "healthy", service
    assert compose.api("GET", "/model")["name"] == "iris"


def test_predictions_become_a_snapshot_and_a_report(compose: Compose) -> None:
    assert known(compose, predict(compose))
    window = awaited(lambda: posted(compose), what="a posted window")
    project = window["evidently_url"].split("/projects/")[1].split("/")[0]
    found = httpx.get(f"{compose.url('EVIDENTLY')}/api/projects/{project}/snapshots", timeout=30).json()
    assert f"{window['start']}/{window['end']}" in {item["metadata"]["window"] for item in found}
    assert httpx.get(window["report_url"], timeout=30).headers["content-type"].startswith("text/html")


def test_prometheus_sees_every_target_and_every_container(compose: Compose) -> None:
    scraped = {"api", "cadvisor", "node-exporter", "alertmanager", "prometheus"}
    scraped |= {"grafana"} & set(compose.services())

    def up() -> bool:
        return {one["metric"]["job"] for one in compose.query("up == 1")} >= scraped

    awaited(up, what="every target")
    running = set(compose.services()) - {"model"}

    def measured() -> bool:
        series = compose.query("container_memory_working_set_bytes")
        return {one["metric"].get("container") for one in series} >= running

    awaited(measured, what="a series of every container")


def test_containers_have_no_more_than_they_need(compose: Compose) -> None:
    for service in compose.services():
        check_hardened(compose, service)
        for bindings in (compose.inspect(service)["HostConfig"]["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}, service


def test_cadvisor_cannot_reach_the_engine_s_socket(compose: Compose) -> None:
    look = 'for p in "" /rootfs /rootfs/proc/[0-9]*/root; do ls "$p/run/docker.sock" "$p/var/run/docker.sock"; done'
    # a program of the machine that is root and gave all its capabilities away, as a browser run by root does
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "cat"]
    with subprocess.Popen(powerless, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"runs\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"runs\n"
        found = compose.run("exec", "-T", "cadvisor", "sh", "-c", f"{look} 2>/dev/null || true")
    assert found == ""


def test_the_filter_passes_on_what_cadvisor_asks_and_nothing_else(compose: Compose) -> None:
    some = compose.container("api")

    def asked(path: str, *options: str) -> str:
        words = ("exec", "-T", "cadvisor", "sh", "-c", 'wget -q -O - "$@" 2>&1 || true', "wget")
        return compose.run(*words, *options, f"http://engine-filter:2375{path}")

    for path in ("/_ping", "/version", "/v1.40/info", "/containers/json", f"/v1.40/containers/{some}/json"):
        assert "Forbidden" not in asked(path), path
    assert json.loads(asked(f"/containers/{some}/json"))["Id"] == some
    refused = [
        (f"/containers/{some}/logs?stdout=1",),
        (f"/containers/{some}/archive?path=/",),
        (f"/containers/json/../{some}/archive?path=/",),
        (f"/containers/{some}%2Farchive%3Fpath=%2F/json",),
        ("/images/json",),
        ("/secrets",),
        ("/containers/create", "--post-data={}"),
        (f"/containers/{some}/json", "--post-data={}"),
    ]
    for path, *options in refused:
        assert "403 Forbidden" in asked(path, *options), path


def test_the_exporters_share_a_network_with_prometheus_alone(compose: Compose) -> None:
    networks = {name: set(compose.inspect(name)["NetworkSettings"]["Networks"]) for name in compose.services()}
    for exporter in ("cadvisor", "node-exporter"):
        others = {name for name, joined in networks.items() if joined & networks[exporter]}
        assert others <= {"cadvisor", "node-exporter", "prometheus", "engine-filter"}
    assert networks["engine-filter"] < networks["cadvisor"]


@pytest.mark.parametrize("service", ["PROMETHEUS", "ALERTMANAGER"])
def test_a_page_of_another_site_is_refused(compose: Compose, service: str) -> None:
    page, path = compose.url(service), {"PROMETHEUS": "/api/v1/labels", "ALERTMANAGER": "/api/v2/silences"}[service]
    silence = {
        "matchers": [{"name": "alertname", "value": "none", "isRegex": False, "isEqual": True}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "test",
        "comment": "test",
    }
    options: dict[str, Any] = {"json": silence} if service == "ALERTMANAGER" else {"data": {"limit": "1"}}
    for headers, status in (
        ({"Origin": "https://other.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{page}0"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": f"other.example:{page.rpartition(':')[2]}"}, 421),
        ({"Origin": page, "Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ):
        answer = httpx.post(page + path, headers=headers, timeout=30, **options)
        assert answer.status_code == status, (headers, answer.text)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(page + "/-/ready", headers=link, timeout=30).status_code == 200


def test_prometheus_itself_lets_no_other_site_read(compose: Compose) -> None:
    fetch = "wget -q -S -O /dev/null --header 'Origin: https://other.example' http://prometheus:9090/api/v1/labels 2>&1"
    answer = compose.run("exec", "-T", "node-exporter", "sh", "-c", fetch)
    assert "200 OK" in answer
    assert "access-control-allow-origin" not in answer.lower()


def test_the_api_answers_to_names_of_this_machine_only(compose: Compose) -> None:
    for name, status in (("localhost", 200), ("other.example", 421)):
        assert httpx.get(compose.url("API") + "/model", headers={"Host": name}, timeout=30).status_code == status


def test_a_killed_api_comes_back_by_itself_with_nothing_lost(compose: Compose) -> None:
    ids = predict(compose)
    before = compose.inspect("api")
    os.kill(before["State"]["Pid"], SIGKILL)
    awaited(lambda: compose.inspect("api")["RestartCount"] > before["RestartCount"], what="a restart")
    awaited(lambda: compose.api("GET", "/health/ready"), what="a ready API")
    assert known(compose, ids)


def test_an_api_that_is_down_raises_the_alarm_until_it_is_back(compose: Compose) -> None:
    def firing() -> bool:
        alerts = httpx.get(compose.url("ALERTMANAGER") + "/api/v2/alerts", timeout=30).json()
        return any(alert["labels"]["alertname"] == "ApiDown" for alert in alerts)

    compose.run("stop", "api")
    awaited(firing, 300, "the alert")
    compose.run("start", "api")
    awaited(lambda: not firing(), 300, "the end of the alert")


def test_a_second_up_after_down_shows_the_old_predictions_and_snapshots(compose: Compose) -> None:
    ids = predict(compose)
    window = awaited(lambda: posted(compose), what="a posted window")
    version = compose.api("GET", "/model")["version"]
    compose.run("down", "--timeout", "20")
    compose.up()
    assert compose.api("GET", "/model")["version"] == version
    assert known(compose, ids)
    windows = {one["start"]: one for one in compose.api("GET", "/snapshots?limit=1000")["windows"]}
    assert windows[window["start"]]["evidently_url"] == window["evidently_url"]
    assert httpx.get(window["report_url"], timeout=30).status_code == 200
    snapshot = window["evidently_url"].replace("/projects/", "/api/projects/").replace("/reports/", "/") + "/metadata"
    assert httpx.get(snapshot, timeout=30).status_code == 200
    assert datetime.fromisoformat(window["start"]).tzinfo is not None


def test_a_user_s_table_is_trained_into_the_stack_and_served_after_a_restart(compose: Compose) -> None:
    table = compose.folder / "diabetes.csv"
    rows = load_diabetes(as_frame=True, scaled=False).frame
    rows.to_csv(table, index=False)
    table.chmod(0o644)
    training = ("python", "-m", "model.train", "--csv", f"/csv/{table.name}", "--target", "target")
    mounted = ("--volume", f"{table}:/csv/{table.name}:ro")
    compose.run("run", "--rm", "-T", *mounted, "model", *training, "--out", "/data/model/current", seconds=600)
    compose.run("restart", "api")
    awaited(lambda: compose.api("GET", "/model")["name"] == "diabetes", what="the new model")
    row = rows.drop(columns="target").iloc[0].to_dict()
    answer = compose.api("POST", "/predict", json=row)
    assert rows["target"].min() <= answer["prediction"] <= rows["target"].max()
    label = {"prediction_id": answer["prediction_id"], "label": float(rows["target"].iloc[0])}
    assert compose.api("POST", "/feedback", json={"labels": [label]}) == {"accepted": 1, "unknown": []}


def test_images_hold_no_installer_and_are_not_root(compose: Compose) -> None:
    for service in ("api", "evidently-ui"):
        code = "import os, shutil; print(os.getuid(), shutil.which('uv'), shutil.which('gcc'))"
        listed = compose.run("exec", "-T", service, "python", "-c", code)
        assert re.fullmatch(r"[1-9]\d* None None", listed.strip())
