"""When the scheduler beats, with a lease in a real database that somebody else holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

from api.alerts.notifier import AlertRounds
from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.windows import WindowStore
from api.snapshots.scheduler import RetentionRounds, SnapshotScheduler


class NoWorker:
    """Stands for the worker process, which these tests do not need."""

    busy = True

    def warm(self) -> None: ...

    def process_due(self) -> None: ...

    def stop(self, _grace_seconds: float) -> None: ...


def test_a_lease_that_is_not_renewed_is_taken_at_its_end_rather_than_at_a_heartbeat(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/log.db")
    database.migrate()
    heartbeat = timedelta(hours=1)
    assert Lease(database, "the dead", timedelta(seconds=1)).take()
    scheduler = SnapshotScheduler(
        WindowStore(database),
        Lease(database, "the heir", heartbeat * 2),
        NoWorker(),  # type: ignore[arg-type] # a process pool
        AlertRounds(lambda: None, heartbeat),
        RetentionRounds(NoWorker(), lambda _removals: None, heartbeat),  # type: ignore[arg-type] # as above
        interval=timedelta(days=1),
        heartbeat=heartbeat,
    )
    began = datetime.now(UTC)
    scheduler.start()
    deadline = monotonic() + 60
    while not scheduler.lease_held and monotonic() < deadline:
        sleep(0.01)
    assert scheduler.lease_held
    assert datetime.now(UTC) - began < heartbeat
    scheduler.stop()
    database.dispose()
