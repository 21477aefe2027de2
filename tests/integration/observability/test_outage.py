"""What the dashboards show of six hours with an outage, a roll-out and a lost container, asked of a real Prometheus."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from observability.grafana.builders.__main__ import FOLDER
from observability.grafana.builders.dashboard import EVIDENTLY_QUERY
from tests.grafana import marks
from tests.integration.observability.conftest import prometheus
from tests.integration.observability.test_dashboard_queries import filled_in
from tests.servers import free_port

STEP, HOURS = 15, 6
START = int(time.time()) // 3600 * 3600 - 24 * 3600
"""A full hour of yesterday, so that the retention keeps it."""
OUTAGE, SECOND, ROLL_OUT, GONE = (60, 70), (150, 155), (240, 250), 340
"""Minutes: the API is down twice; then two builds serve for ten minutes; at last a container is gone."""
EVER = (0, HOURS * 60)
OLD, NEW = 'version="1",model="iris",model_version="a"', 'version="1",model="iris",model_version="b"'
CRITICAL = 'alertname="ApiDown",severity="critical",subject="api",job="api"'
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")
}
Series = dict[str, Callable[[float], float | None]]
"""A series' value at a minute; None while it does not exist."""


def within(minute: float, *spans: tuple[float, float]) -> bool:
    return any(begin <= minute < end for begin, end in spans)


def alert_series(labels: str, *spans: tuple[float, float]) -> Series:
    def since(minute: float) -> float | None:
        return next((START + 60 * begin for begin, end in spans if begin <= minute < end), None)

    return {
        f'ALERTS{{alertstate="firing",{labels}}}': lambda minute: 1 if since(minute) else None,
        f"ALERTS_FOR_STATE{{{labels}}}": since,
    }


def story() -> dict[str, Series]:
    """The series of each metric."""

    def up(minute: float) -> bool:
        return not within(minute, OUTAGE, SECOND)

    def old(instance: str) -> Series:
        end = ROLL_OUT[1] if instance == "b:1" else ROLL_OUT[0]
        labels = f'vigie_build_info{{job="api",instance="{instance}",{OLD}}}'
        return {labels: lambda minute: 1 if up(minute) and minute < end else None}

    def new(instance: str) -> Series:
        begin = ROLL_OUT[1] if instance == "b:1" else ROLL_OUT[0]
        labels = f'vigie_build_info{{job="api",instance="{instance}",{NEW}}}'
        return {labels: lambda minute: 1 if minute >= begin else None}

    cadvisor = 'job="cadvisor",instance="c:1"'

    def container(name: str, end: float) -> Series:
        labels = f'{cadvisor},container="{name}"'
        return {
            f"container_last_seen{{{labels}}}": lambda minute: START + 60 * minute if minute < end else None,
            f"container_health_state{{{labels}}}": lambda minute: 1 if minute < end else None,
        }

    series: Series = {
        'up{job="api",instance="a:1"}': lambda minute: 1 if up(minute) else 0,
        f"up{{{cadvisor}}}": lambda minute: 0 if minute > 355 else 1,
        **alert_series(CRITICAL, OUTAGE, SECOND),
        **alert_series('alertname="Watchdog",severity="none",subject="monitors"', EVER),
        **alert_series('alertname="ContainerMissing",severity="critical",container="evidently-ui"', (342, 360)),
        **alert_series('alertname="Odd"', (64, 66)),
        'alertmanager_alerts{instance="m:1",state="active"}': lambda minute: 3 if within(minute, OUTAGE) else 1,
        'alertmanager_alerts{instance="m:1",state="suppressed"}': lambda minute: 1 if within(minute, OUTAGE) else 0,
        'vigie_evidently_link_timestamp_seconds{url="http://old:8001"}': lambda m: START if m < 200 else None,
        'vigie_evidently_link_timestamp_seconds{url="https://new:8001"}': lambda m: START + 1 if m > 190 else None,
        'node_filesystem_avail_bytes{job="node-exporter",instance="h:1",mountpoint="/"}': lambda m: 1e12 - 1e8 * m,
        'vigie_snapshot_windows_total{outcome="posted"}': lambda minute: minute // 5,
        'vigie_snapshot_windows_total{outcome="failed"}': lambda _: 0,
        'vigie_request_rows_bucket{job="api",instance="a:1",le="1"}': lambda minute: 60 * minute,
        'vigie_request_rows_bucket{job="api",instance="a:1",le="3"}': lambda minute: 60 * minute,
        'vigie_request_rows_bucket{job="api",instance="a:1",le="+Inf"}': lambda minute: 60 * minute,
    }
    for part in (
        old("a:1"),
        old("b:1"),
        new("a:1"),
        new("b:1"),
        container("api", 400),
        container("evidently-ui", GONE),
    ):
        series |= part
    metrics: dict[str, Series] = {}
    for name, value in series.items():
        metrics.setdefault(name.split("{", 1)[0], {})[name] = value
    return metrics


def open_metrics() -> str:
    lines = []
    for metric, series in story().items():
        lines.append(f"# TYPE {metric} unknown")
        for name, value in series.items():
            lines += [
                f"{name} {one} {START + second}"
                for second in range(0, HOURS * 3600 + 1, STEP)
                if (one := value(second / 60)) is not None
            ]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has seen all of it."""
    if shutil.which("promtool") is None or shutil.which("prometheus") is None:
        pytest.skip("no prometheus on this machine (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("past")
    text, config = folder / "story.txt", folder / "prometheus.yml"
    text.write_text(open_metrics(), encoding="utf-8")
    config.write_text("global: {}\n", encoding="utf-8")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "tsdb")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with prometheus(folder, config, free_port()) as url:
        yield url


def panel(board: str, title: str) -> str:
    (found,) = [one for one in BOARDS[board]["panels"] if one["title"] == title]
    expression: str = found["targets"][0]["expr"]
    return expression


def at(url: str, expression: str, minute: float) -> list[dict[str, Any]]:
    data: dict[str, Any] = {"query": filled_in(expression), "time": START + 60 * minute}
    answer = httpx.post(f"{url}/api/v1/query", data=data, timeout=30).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def values(url: str, expression: str, minute: float, label: str) -> dict[str, float]:
    return {one["metric"].get(label, ""): float(one["value"][1]) for one in at(url, expression, minute)}


def marked(url: str, board: str, name: str, step: int) -> list[tuple[float, float]]:
    """The minutes of all marks of an annotation, as (begin, end)."""
    (annotation,) = [one for one in BOARDS[board]["annotations"]["list"] if one["name"] == name]
    data: dict[str, Any] = {"query": annotation["expr"], "start": START, "end": START + HOURS * 3600, "step": step}
    answer = httpx.post(f"{url}/api/v1/query_range", data=data, timeout=60).json()
    assert answer["status"] == "success", answer
    series = [[(float(when), float(value)) for when, value in one["values"]] for one in answer["data"]["result"]]
    return sorted(((begin - START) / 60, (end - START) / 60) for one in series for begin, end in marks(one))


@pytest.mark.parametrize("step", [15, 60, 120, 300])
def test_marks_are_lines_at_the_start_and_the_end_whatever_the_step(past: str, step: int) -> None:
    begins = marked(past, "api", "Critical alerts begin", step)
    ends = marked(past, "api", "Critical alerts end", step)
    assert begins == [(60, 60), (150, 150)]
    assert all(begin == end for begin, end in ends), "no area"
    assert [begin for begin, _ in ends] == pytest.approx([70, 155], abs=1.1)


def test_a_board_marks_critical_alerts_on_its_subject_and_overview_all_of_them(past: str) -> None:
    assert [begin for begin, _ in marked(past, "overview", "Critical alerts begin", 60)] == [60, 150, 342]
    assert marked(past, "host", "Critical alerts begin", 60) == []


@pytest.mark.parametrize("step", [15, 60, 120, 300])
def test_a_build_is_marked_once_and_not_again_after_an_outage(past: str, step: int) -> None:
    assert marked(past, "api", "New builds", step) == [(0, 0), (240, 240)]


def test_a_container_that_vanished_is_missing_and_one_that_nobody_sees_is_unknown(past: str) -> None:
    health = panel("containers", "Health")
    assert values(past, health, 330, "container") == {"api": 1, "evidently-ui": 1}
    assert values(past, health, 350, "container") == {"api": 1, "evidently-ui": -2}
    blind = health.replace("container_health_state", "no_such_metric")
    assert values(past, blind, 359, "container") == {}, "a silent cAdvisor says nothing about its containers"


def test_the_list_has_fixed_columns_since_when_and_what(past: str) -> None:
    listed = at(past, panel("overview", "Firing alerts"), 65)
    assert {tuple(sorted(one["metric"])) for one in listed} <= {
        ("about", "alertname", "entry", "severity"),
        ("about", "alertname", "entry"),
    }
    by_name = {one["metric"]["alertname"]: one for one in listed}
    assert set(by_name) == {"ApiDown", "Odd"}
    assert by_name["ApiDown"]["metric"]["about"] == "api"
    assert by_name["ApiDown"]["metric"]["entry"] == "ApiDown"
    assert float(by_name["ApiDown"]["value"][1]) == 1000 * (START + 60 * OUTAGE[0])
    assert by_name["Odd"]["metric"]["about"] == "\N{EN DASH}"
    assert at(past, panel("overview", "Firing alerts"), 100) == []


def test_alerts_that_prometheus_did_not_send_are_the_model_s(past: str) -> None:
    model_alerts = panel("overview", "Open model alerts")
    # four in Alertmanager, of which Prometheus sent ApiDown and Watchdog
    assert values(past, model_alerts, 63, "") == {"": 2}
    assert values(past, model_alerts, 100, "") == {"": 0}


def test_an_outage_lowers_reachability_and_not_the_share_of_good_answers(past: str) -> None:
    reachable = panel("overview", "API reachable")
    assert values(past, reachable, 59, "") == {"": 1}
    assert values(past, reachable, 360, "")[""] == pytest.approx(1 - 15 / 360, abs=0.001)


def test_two_replicas_of_a_version_are_well_and_a_roll_out_is_not(past: str) -> None:
    build = panel("api", "Build")
    assert values(past, build, 200, "model_version") == {"a": 1}
    assert values(past, build, 245, "model_version") == {"a": 2, "b": 2}
    assert values(past, build, 300, "model_version") == {"b": 1}


def test_the_forecast_of_a_disk_waits_for_three_hours(past: str) -> None:
    forecast = panel("host", "Disk free in a day")
    assert at(past, forecast, 170) == []
    assert values(past, forecast, 190, "mountpoint")["/"] == pytest.approx(1e12 - 1e8 * (190 + 1440), rel=1e-6)


def test_posted_windows_are_whole_and_apart_from_failed_ones(past: str) -> None:
    assert values(past, panel("api", "Tries of windows in 30 minutes"), 301, "outcome") == {"posted": 6}
    assert values(past, panel("api", "Failed tries in 30 minutes"), 301, "outcome") == {"failed": 0}


def test_single_rows_are_one_row_a_request(past: str) -> None:
    assert values(past, panel("api", "Rows in a request"), 100, "") == {"": 1}


def test_the_link_to_evidently_ui_is_the_newest_address_and_outlives_the_api(past: str) -> None:
    query = EVIDENTLY_QUERY.removeprefix("query_result(").removesuffix(")")
    assert set(values(past, query, 100, "url")) == {"http://old:8001"}
    assert set(values(past, query, 360, "url")) == {"https://new:8001"}
