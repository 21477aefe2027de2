"""When what is old is removed, by a clock that the test sets; the worker is told, and does nothing."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import CollectorRegistry

from api.metrics import Metrics
from api.snapshots.retention_tiers import Removals
from api.snapshots.scheduler import RetentionRounds
from api.snapshots.worker import MAX_RETENTION_SECONDS, retention_seconds


class Told:
    """Stands for the worker process; remembers what it was told."""

    busy = False

    def __init__(self) -> None:
        self.done: list[Callable[[Removals | None], None]] = []

    def remove_old(self, done: Callable[[Removals | None], None]) -> None:
        self.done.append(done)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def rounds_of(worker: Told, clock: Clock, reported: list[Removals | None]) -> RetentionRounds:
    return RetentionRounds(worker, reported.append, timedelta(hours=1), clock)  # type: ignore[arg-type] # a process


def test_a_round_begins_a_minute_after_the_start_and_then_at_the_interval() -> None:
    worker, clock, reported = Told(), Clock(), []  # type: ignore[var-annotated]
    rounds = rounds_of(worker, clock, reported)
    begun = []
    for minute in range(180):
        clock.seconds = minute * 60
        rounds.beat()
        if len(worker.done) > len(begun):
            begun.append(minute)
    assert begun == [1, 61, 121]


def test_what_is_left_goes_on_at_the_next_beat_and_a_failure_waits() -> None:
    worker, clock, reported = Told(), Clock(), []  # type: ignore[var-annotated]
    rounds = rounds_of(worker, clock, reported)
    clock.seconds = 60
    rounds.beat()
    worker.done[0](Removals(unfinished=True))
    rounds.beat()
    assert len(worker.done) == 2
    worker.done[1](None)
    rounds.beat()
    assert len(worker.done) == 2
    assert reported == [Removals(unfinished=True), None]


def test_a_busy_worker_is_not_told_and_the_round_is_not_forgotten() -> None:
    worker, clock = Told(), Clock()
    rounds = rounds_of(worker, clock, [])
    clock.seconds, worker.busy = 60, True
    rounds.beat()
    worker.busy = False
    rounds.beat()
    assert len(worker.done) == 1


def test_what_was_removed_is_counted_and_when_all_was_done() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"vigie_retention_{name}", labels)

    for kind in ("snapshots", "values", "reports", "predictions", "labels", "rejections"):
        assert shown("removed_total", kind=kind) == 0
    metrics.observe_removals(Removals(Counter(predictions=500, labels=3), Counter(log=4096), unfinished=True))
    assert shown("runs_total", outcome="done") == 0
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


def test_a_run_ends_before_the_next_beat_and_never_keeps_the_worker_long() -> None:
    assert retention_seconds(timedelta(seconds=5)) == 4.5
    assert retention_seconds(timedelta(seconds=0.5)) == 0.45
    assert retention_seconds(timedelta(seconds=60)) == MAX_RETENTION_SECONDS
