"""Alerts from a real log, with a real HTTP server in the place of Alertmanager."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from api.alerts.next_steps import NextSteps
from api.alerts.notifier import Alertmanager, AlertNotifier
from api.alerts.payload import Wording
from api.alerts.rules import Quorum
from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.database import Database
from api.prediction_log.records import WindowStatus
from api.prediction_log.tables import windows
from api.prediction_log.windows import WindowStore
from api.snapshots.health import SnapshotLinks
from scripts.ports import free_port
from tests.finished_windows import Windows


class Receiver:
    """Keeps what is posted, and answers with the status that the test sets."""

    def __init__(self, server: HTTPServer) -> None:
        self.status = 200
        self.posted: list[list[dict[str, Any]]] = []
        self.url = server.url_for("").rstrip("/")
        server.expect_request(re.compile(".*"), method="POST").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.posted.append(request.get_json())
        return Response("as told", self.status)


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def store(database: Database) -> WindowStore:
    return WindowStore(database)


@pytest.fixture
def log(database: Database) -> Windows:
    return Windows(database)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def posts(metrics: Metrics) -> dict[str, float]:
    counts = {
        outcome: metrics.registry.get_sample_value("vigie_alert_posts_total", {"outcome": outcome})
        for outcome in ("sent", "unavailable", "rejected", "failed")
    }
    return {outcome: count for outcome, count in counts.items() if count}


def open_alerts(metrics: Metrics) -> dict[str, float | None]:
    return {
        severity: metrics.registry.get_sample_value("vigie_model_alerts", {"severity": severity})
        for severity in ("critical", "warning")
    }


def notifier(store: WindowStore, metrics: Metrics, url: str | None) -> AlertNotifier:
    links = SnapshotLinks("http://api", "http://evidently", "iris")
    return AlertNotifier(
        store,
        "v1",
        quorum=Quorum(2, 3),
        wording=Wording("iris", links, timedelta(minutes=4), NextSteps("http://api", None, Path("data/model"))),
        alertmanager=Alertmanager(url) if url else None,
        metrics=metrics,
    )


def ends_later(alert: dict[str, Any]) -> bool:
    return datetime.fromisoformat(alert["endsAt"]) > datetime.now(UTC)


def test_windows_without_failed_checks_post_nothing(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    for _ in range(3):
        log.add(failed=False)
    notifier(store, metrics, receiver.url).notify()
    assert (receiver.posted, posts(metrics)) == ([], {})


def test_a_part_of_the_snapshots_that_fails_again_and_again_is_an_alert(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    alerts = notifier(store, metrics, receiver.url)
    log.add(failed=False, measured="rows", not_computed=("performance: not enough data (3 of at least 30 labels)",) * 3)
    log.add(failed=False, measured="rows", not_computed=("performance: failed with KeyError: 'x'",))
    alerts.notify()
    assert receiver.posted == []
    log.add(failed=False, measured="rows", not_computed=("performance: failed with KeyError: 'x'",))
    alerts.notify()
    ((alert,),) = receiver.posted
    assert alert["labels"]["alertname"] == "ModelMonitoringIncomplete"
    assert alert["labels"]["severity"] == "warning"
    assert "2 of the last 3 windows of iris" in alert["annotations"]["summary"]
    assert "performance: failed with KeyError: 'x'" in alert["annotations"]["summary"]


def test_a_firing_alert_is_repeated_and_its_end_posted(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    alerts = notifier(store, metrics, receiver.url)
    for failed in (True, True):
        log.add(failed=failed)
    alerts.notify()
    alerts.notify()
    assert open_alerts(metrics) == {"critical": 0, "warning": 1}
    for failed in (False, False):
        log.add(failed=failed)
    alerts.notify()
    (first,), (again,), (last,) = receiver.posted
    assert first["labels"] == again["labels"] == last["labels"]
    assert first["startsAt"] == again["startsAt"] == last["startsAt"]
    assert [ends_later(alert) for alert in (first, again, last)] == [True, True, False]
    assert posts(metrics) == {"sent": 3}


def test_another_process_goes_on_where_the_last_one_ended(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    for _ in range(2):
        log.add(failed=True)
    notifier(store, metrics, receiver.url).notify()
    for _ in range(2):
        log.add(failed=False)
    notifier(store, metrics, receiver.url).notify()
    (firing,), (over,) = receiver.posted
    assert (ends_later(firing), ends_later(over)) == (True, False)
    assert firing["startsAt"] == over["startsAt"]


@pytest.mark.parametrize("status", [WindowStatus.SKIPPED, WindowStatus.POSTED, WindowStatus.FAILED])
def test_windows_that_did_not_compute_the_check_neither_fire_nor_end_it(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver, status: WindowStatus
) -> None:
    log.add(failed=True)
    for _ in range(5):
        log.add(failed=False, measured="accuracy" if status == WindowStatus.POSTED else None, status=status)
    alerts = notifier(store, metrics, receiver.url)
    alerts.notify()
    assert receiver.posted == []
    log.add(failed=True)
    for _ in range(5):
        log.add(failed=False, measured="accuracy" if status == WindowStatus.POSTED else None, status=status)
    alerts.notify()
    ((alert,),) = receiver.posted
    assert ends_later(alert)


def test_windows_of_another_version_of_the_model_do_not_count(
    log: Windows, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    for version in ("v0", "v0", "v1"):
        log.add(failed=True, model_version=version)
    notifier(store, metrics, receiver.url).notify()
    assert receiver.posted == []


def test_without_an_alertmanager_changes_are_logged_once(
    log: Windows, store: WindowStore, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    alerts = notifier(store, metrics, None)
    for failed in (True, True, False, False):
        log.add(failed=failed)
        alerts.notify()
        alerts.notify()
    lines = [record.message.split(":")[0] for record in caplog.records]
    assert lines == ["ModelDataDrift fires", "ModelDataDrift is over"]
    assert "petal_length 0.8 (threshold 0.4)" in caplog.text
    assert posts(metrics) == {}


def about_alertmanager(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("Alertmanager")]


def test_an_alertmanager_that_is_down_is_logged_once_and_counted_each_time(
    log: Windows, store: WindowStore, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        log.add(failed=True)
    alerts = notifier(store, metrics, f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        alerts.notify()
    (line,) = about_alertmanager(caplog)
    assert "ConnectError" in line
    assert posts(metrics) == {"unavailable": 3}


@pytest.mark.parametrize(("status", "outcome"), [(400, "rejected"), (503, "unavailable")])
def test_a_refusal_is_logged_with_its_reason_and_so_is_its_end(
    log: Windows,
    store: WindowStore,
    metrics: Metrics,
    receiver: Receiver,
    *,
    caplog: pytest.LogCaptureFixture,
    status: int,
    outcome: str,
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        log.add(failed=True)
    alerts = notifier(store, metrics, receiver.url)
    receiver.status = status
    alerts.notify()
    receiver.status = 200
    alerts.notify()
    assert posts(metrics) == {outcome: 1, "sent": 1}
    bad, good = about_alertmanager(caplog)
    assert f"{status} as told" in bad
    assert "again" in good


def test_an_invalid_address_counts_as_unavailable(
    log: Windows, store: WindowStore, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        log.add(failed=True)
    alerts = notifier(store, metrics, "http://[nowhere")
    alerts.notify()
    alerts.notify()
    assert len(about_alertmanager(caplog)) == 1
    assert posts(metrics) == {"unavailable": 2}


def test_a_log_that_does_not_answer_posts_nothing(
    database: Database, store: WindowStore, metrics: Metrics, receiver: Receiver
) -> None:
    with database.writing() as connection:
        windows.drop(connection) if database.is_sqlite else connection.exec_driver_sql("DROP TABLE windows CASCADE")
    with pytest.raises(LogUnavailable):
        notifier(store, metrics, receiver.url).notify()
    assert (receiver.posted, posts(metrics)) == ([], {})


def test_an_unexpected_error_is_counted(
    store: WindowStore, metrics: Metrics, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "measured", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        notifier(store, metrics, receiver.url).notify()
    assert posts(metrics) == {"failed": 1}
