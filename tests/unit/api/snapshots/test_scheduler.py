"""Periodic jobs on a real scheduler, the heartbeat with a lease in a real database, and what the status job shows."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Semaphore
from time import monotonic, sleep
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.database import Database
from api.prediction_log.lease import snapshot_lease
from api.prediction_log.reader import SnapshotProgress
from api.prediction_log.windows import WindowStore
from api.snapshots.retention_tiers import Removals
from api.snapshots.scheduler import HEARTBEAT, JobScheduler, PeriodicJob, SnapshotHeartbeat, StatusProbe
from api.snapshots.worker import SnapshotWorker

HOUR, AT_ONCE = timedelta(hours=1), timedelta(0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def scheduler(metrics: Metrics) -> Iterator[JobScheduler]:
    scheduler = JobScheduler(metrics)
    yield scheduler
    scheduler.stop()


def failures(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value("vigie_periodic_job_failures_total", {"name": name})


def succeeded_at(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value("vigie_periodic_job_succeeded_timestamp_seconds", {"name": name})


class Runs:
    """A job whose runs a test awaits."""

    def __init__(self) -> None:
        self._ended = Semaphore(0)

    def __call__(self) -> None:
        self._ended.release()

    def comes(self, seconds: float = 10) -> bool:
        return self._ended.acquire(timeout=seconds)


def test_a_job_runs_at_every_interval(scheduler: JobScheduler) -> None:
    runs = Runs()
    scheduler.add("job", runs, timedelta(milliseconds=1))
    scheduler.start()
    assert all(runs.comes() for _ in range(3))


def test_the_first_run_comes_after_the_given_time_or_after_one_interval(scheduler: JobScheduler) -> None:
    at_once, later = Runs(), Runs()
    scheduler.add("at once", at_once, HOUR, AT_ONCE)
    scheduler.add("later", later, HOUR)
    scheduler.start()
    assert at_once.comes()
    assert not later.comes(0.1)


def test_a_job_that_is_woken_runs_now(scheduler: JobScheduler) -> None:
    runs = Runs()
    scheduler.add("job", runs, HOUR)
    scheduler.start()
    for _ in range(3):
        scheduler.wake("job")
        assert runs.comes()
    assert not runs.comes(0.1)


def test_a_job_that_is_woken_while_it_runs_runs_once_more(scheduler: JobScheduler) -> None:
    runs, go_on = Runs(), Event()

    def wait() -> None:
        runs()
        assert go_on.wait(30)

    scheduler.add("job", wait, HOUR, AT_ONCE)
    scheduler.start()
    assert runs.comes()
    scheduler.wake("job")
    assert not runs.comes(0.1)
    go_on.set()
    assert runs.comes()
    assert not runs.comes(0.1)


def test_a_job_that_this_process_does_not_run_can_be_woken_without_effect(scheduler: JobScheduler) -> None:
    scheduler.start()
    scheduler.wake(HEARTBEAT)


def test_a_job_that_hangs_delays_no_other(scheduler: JobScheduler) -> None:
    hanging, go_on, runs = Runs(), Event(), Runs()

    def hang() -> None:
        hanging()
        assert go_on.wait(30)

    scheduler.add("hanging", hang, timedelta(milliseconds=1))
    scheduler.add("other", runs, timedelta(milliseconds=1))
    scheduler.start()
    assert hanging.comes()
    assert all(runs.comes() for _ in range(5))
    assert not hanging.comes(0)  # and no second run of it begins beside the first
    go_on.set()


def test_a_failure_is_logged_and_counted_and_the_next_run_comes(
    scheduler: JobScheduler, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()

    def fail() -> None:
        runs()
        raise ZeroDivisionError

    scheduler.add("job", fail, timedelta(milliseconds=1))
    assert (failures(registry, "job"), succeeded_at(registry, "job")) == (0, 0)
    scheduler.start()
    assert all(runs.comes() for _ in range(3))
    assert (failures(registry, "job") or 0) >= 2
    assert succeeded_at(registry, "job") == 0
    assert "the periodic job job failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_log_that_does_not_answer_counts_each_time_and_is_logged_once(
    metrics: Metrics, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([False, False, True, False])

    def read() -> None:
        if not next(answers):
            raise LogUnavailable("no answer")

    job = PeriodicJob("job", read, HOUR, metrics)
    job.run()
    job.run()
    assert (failures(registry, "job"), succeeded_at(registry, "job")) == (2, 0)
    job.run()
    assert (succeeded_at(registry, "job") or 0) > 1.6e9
    job.run()
    assert failures(registry, "job") == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.WARNING]


def test_a_stop_waits_for_the_run_under_way_and_starts_no_other(metrics: Metrics) -> None:
    scheduler, begun, ended = JobScheduler(metrics), Runs(), []

    def work() -> None:
        begun()
        sleep(0.2)
        ended.append(1)

    scheduler.add("job", work, timedelta(milliseconds=1))
    scheduler.start()
    assert begun.comes()
    scheduler.stop()
    count = len(ended)
    assert count >= 1
    scheduler.wake("job")
    sleep(0.3)
    assert len(ended) == count


def test_a_stop_does_not_wait_for_ever(metrics: Metrics) -> None:
    scheduler, begun, go_on = JobScheduler(metrics), Runs(), Event()

    def hang() -> None:
        begun()
        assert go_on.wait(30)

    scheduler.add("job", hang, HOUR, AT_ONCE)
    scheduler.start()
    assert begun.comes()
    scheduler.stop(grace_seconds=0.1)
    go_on.set()


class FakeWorker:
    """Stands for the worker process; remembers what it should do."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.done: list[Callable[[Removals | None], None]] = []

    def warm(self) -> None: ...

    def process_due(self) -> None: ...

    def remove_old(self, done: Callable[[Removals | None], None]) -> None:
        self.done.append(done)

    def stop(self, _grace_seconds: float) -> None: ...


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    yield database
    database.dispose()


class Heart:
    """A heartbeat, and what it called."""

    def __init__(self, database: Database, worker: FakeWorker, holder: str = "us", interval: timedelta = HOUR) -> None:
        self.gained = 0
        self.reported: list[Removals | None] = []
        self.run_in: Callable[[timedelta], None] = lambda _delay: None
        self.beat = SnapshotHeartbeat(
            WindowStore(database),
            snapshot_lease(database, holder, interval),
            cast("SnapshotWorker", worker),
            window=timedelta(days=1),
            interval=interval,
            lease_gained=self._gain,
            run_again_in=self._run_in,
            report_removals=self.reported.append,
        )

    def _gain(self) -> None:
        self.gained += 1

    def _run_in(self, delay: timedelta) -> None:
        self.run_in(delay)


def test_a_lease_that_is_not_renewed_is_taken_at_its_end_rather_than_at_a_heartbeat(
    database: Database, scheduler: JobScheduler
) -> None:
    assert snapshot_lease(database, "the dead", timedelta(seconds=0.5)).take()
    heart = Heart(database, FakeWorker(busy=True), "the heir")
    heart.run_in = lambda delay: scheduler.run_in(HEARTBEAT, delay)
    scheduler.add(HEARTBEAT, heart.beat.run, HOUR, AT_ONCE)
    began = datetime.now(UTC)
    scheduler.start()
    deadline = monotonic() + 60
    while not heart.beat.lease_held and monotonic() < deadline:
        sleep(0.01)
    assert heart.beat.lease_held
    assert datetime.now(UTC) - began < HOUR
    scheduler.stop()
    heart.beat.stop()


def test_the_lease_is_gained_once_and_released_at_the_stop(database: Database) -> None:
    heart, other = Heart(database, FakeWorker()), Heart(database, FakeWorker(), "them")
    heart.beat.run()
    heart.beat.run()
    other.beat.run()
    assert (heart.gained, other.gained) == (1, 0)
    heart.beat.stop()
    other.beat.run()
    assert (heart.beat.lease_held, other.beat.lease_held) == (False, True)


def test_without_the_log_the_lease_counts_as_lost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heart(database, FakeWorker())
    heart.beat.run()
    assert heart.beat.lease_held
    with monkeypatch.context() as broken:
        broken.setattr(heart.beat._store, "close_elapsed", lambda _window: unavailable())
        with pytest.raises(LogUnavailable):
            heart.beat.run()
    assert not heart.beat.lease_held
    heart.beat.run()
    assert heart.gained == 2


def test_retention_runs_when_it_was_requested_and_only_once(database: Database) -> None:
    worker = FakeWorker()
    heart = Heart(database, worker)
    heart.beat.run()
    assert worker.done == []
    heart.beat.request_retention()
    heart.beat.run()
    heart.beat.run()
    assert len(worker.done) == 1


def test_what_is_left_goes_on_at_the_next_heartbeat_and_a_failure_waits(database: Database) -> None:
    worker = FakeWorker()
    heart = Heart(database, worker)
    heart.beat.request_retention()
    heart.beat.run()
    worker.done[0](Removals(unfinished=True))
    heart.beat.run()
    assert len(worker.done) == 2
    worker.done[1](None)
    heart.beat.run()
    assert len(worker.done) == 2
    assert heart.reported == [Removals(unfinished=True), None]


def test_retention_waits_for_a_busy_worker_and_for_the_lease(database: Database) -> None:
    worker, others = FakeWorker(busy=True), FakeWorker()
    heart, other = Heart(database, worker), Heart(database, others, "them")
    for one in (heart, other):
        one.beat.request_retention()
        one.beat.run()
    worker.busy = False
    for one in (heart, other):
        one.beat.run()
    assert (len(worker.done), len(others.done)) == (1, 0)


def test_what_was_removed_is_counted_and_when_all_was_done(metrics: Metrics, registry: CollectorRegistry) -> None:
    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"vigie_retention_{name}", labels)

    for kind in ("snapshots", "values", "reports", "predictions", "labels", "rejections"):
        assert shown("removed_total", kind=kind) == 0
    metrics.observe_removals(Removals(Counter(predictions=500, labels=3), Counter(log=4096), unfinished=True))
    assert shown("runs_total", outcome="done") == 0
    metrics.observe_removals(Removals(overdue=timedelta(hours=2), unfinished=True))
    assert shown("overdue_seconds") == 7200
    metrics.observe_removals(Removals(Counter(snapshots=2)))
    assert (shown("runs_total", outcome="done"), shown("runs_total", outcome="failed")) == (1, 0)
    done_at = shown("last_done_timestamp_seconds")
    assert done_at
    metrics.observe_removals(Removals(Counter(predictions=1), errors=["Evidently UI is down"]))
    metrics.observe_removals(None)
    assert shown("runs_total", outcome="failed") == 2
    assert shown("last_done_timestamp_seconds") == done_at
    assert shown("removed_total", kind="predictions") == 501
    assert shown("removed_total", kind="snapshots") == 2
    assert shown("freed_bytes_total", store="log") == 4096


def unavailable() -> bool:
    raise LogUnavailable("gone")


PROGRESS = SnapshotProgress(waiting=2, behind=timedelta(seconds=90), posted_at=1e9, duration_seconds=4.5)


@pytest.mark.parametrize(("status", "up"), [(200, 1), (503, 0), (None, 0)])
def test_the_probe_shows_evidently_the_lease_and_the_progress(
    metrics: Metrics, registry: CollectorRegistry, status: int | None, up: int
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://ui:8001/api/version"
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        probe = StatusProbe(metrics, "http://ui:8001/", lambda: True, lambda: [(metrics, PROGRESS)], client)
        probe.look()
    shown = {
        "vigie_evidently_up": up,
        "vigie_snapshot_lease_held": 1,
        "vigie_snapshot_windows_waiting": 2,
        "vigie_snapshot_behind_seconds": 90,
        "vigie_snapshot_last_posted_timestamp_seconds": 1e9,
        "vigie_snapshot_last_duration_seconds": 4.5,
    }
    assert {name: registry.get_sample_value(name) for name in shown} == shown
    assert probe.evidently_up is bool(up)
    assert (registry.get_sample_value("vigie_status_timestamp_seconds") or 0) > 1.6e9


def test_a_lease_that_cannot_be_read_is_not_held(metrics: Metrics, registry: CollectorRegistry) -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        StatusProbe(metrics, "http://ui:8001", unavailable, lambda: [(metrics, PROGRESS)], client).look()
    assert registry.get_sample_value("vigie_snapshot_lease_held") == 0
    assert registry.get_sample_value("vigie_evidently_up") == 1
