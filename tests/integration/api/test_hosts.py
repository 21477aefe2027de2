"""Several hosts on one PostgreSQL: one schema, one scheduler, and another one soon after it died."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep
from uuid import uuid4

import pandas as pd
import psycopg
import pytest

from tests.integration.api.conftest import ApiProcess, Caller
from tests.integration.api.test_faults import snapshots_of
from tests.postgres import MISSING, fresh_database

HOSTS = 3


@pytest.fixture
def hosts(iris_artifact: Path, tmp_path: Path, ui_port: int, postgres: str | None) -> Iterator[list[ApiProcess]]:
    """Hosts that were started at the same time on an empty database."""
    if postgres is None:
        pytest.skip(MISSING)
    url = fresh_database(postgres, f"hosts_{uuid4().hex}")
    hosts = []
    for number in range(HOSTS):
        (folder := tmp_path / str(number)).mkdir()
        settings = {"VIGIE_DATABASE_URL": url, "VIGIE_EVIDENTLY_PROJECT": tmp_path.name}
        hosts.append(ApiProcess(folder, iris_artifact, ui_port, **settings))
    starts = [threading.Thread(target=host.start) for host in hosts]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    yield hosts
    for host in hosts:
        if not host.ended():
            host.stop()


def holder(hosts: list[ApiProcess], seconds: float = 60) -> ApiProcess:
    """Return the host whose process holds the lease, once one that runs does."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        with psycopg.connect(hosts[0].database_url) as connection:
            query = "SELECT holder FROM lease WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000000"
            held_by = [str(row[0]) for row in connection.execute(query).fetchall()]
        found = [host for host in hosts if not host.ended() and any(f"-{host.pid}-" in name for name in held_by)]
        if found:
            assert len(found) == 1
            return found[0]
        sleep(0.02)
    raise TimeoutError("nobody has taken the lease")


def test_one_host_snapshots_and_another_takes_over_when_it_dies(
    hosts: list[ApiProcess], pool: pd.DataFrame, ui_port: int
) -> None:
    assert not any(host.ended() for host in hosts)
    with psycopg.connect(hosts[0].database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    callers = [Caller(host.url, pool) for host in hosts]
    for caller in callers:
        caller.send(50)
    first = holder(hosts)
    window = callers[0].snapshot()
    assert (window["status"], window["rows"]) == ("posted", HOSTS * 50)
    first.stop(SIGKILL)
    second = holder(hosts)
    assert second is not first
    alive = [caller for caller, host in zip(callers, hosts, strict=True) if host is not first]
    for caller in alive:
        caller.send(50)
    window = alive[0].snapshot()
    assert (window["status"], window["rows"]) == ("posted", (HOSTS - 1) * 50)
    assert snapshots_of(ui_port, window) == 1
    for caller in callers:
        with closing(caller.http):
            pass
