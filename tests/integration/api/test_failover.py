"""A second PostgreSQL server takes over while predictions are logged: real servers with streaming replication."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL, SIGQUIT

import pytest

from tests.integration.api.conftest import ApiProcess
from tests.integration.api.traffic import NOBODY, logged_rows, traffic
from tests.postgres import MISSING, PostgresReplica, PostgresServer, fresh_database, postgres_programs, server_folder
from tests.servers import Server

Pair = tuple[PostgresServer, PostgresReplica]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary that waits with each commit for its replica."""
    if postgres_programs() is None:
        pytest.skip(MISSING)
    with ExitStack() as stack:
        folders = []
        for _ in range(2):
            folders.append(server_folder())
            stack.callback(shutil.rmtree, folders[-1], ignore_errors=True)
        primary = PostgresServer(folders[0])
        stack.callback(stop, primary.start())
        fresh_database(primary.url, "vigie")
        replica = PostgresReplica(folders[1], primary)
        stack.callback(stop, replica.start())
        yield primary, replica


def stop(process: Server) -> None:
    if process.poll() is None:
        process.stop(SIGQUIT)


def test_a_promoted_replica_has_every_acknowledged_prediction_and_the_api_goes_on_with_it(
    pair: Pair, iris_artifact: Path, tmp_path: Path
) -> None:
    primary, replica = pair
    url = f"postgresql://vigie@/vigie?host={primary.host}&host={replica.host}&target_session_attrs=read-write"
    api = ApiProcess(tmp_path, iris_artifact, NOBODY, VIGIE_DATABASE_URL=url, VIGIE_SNAPSHOTS="false")
    api.start()
    try:
        pid = api.pid
        with traffic(api.url, callers=8) as calls:
            calls.await_acknowledged(500)
            primary.stop()  # as a crash would
            before = len(calls.acknowledged)
            replica.promote()
            calls.await_acknowledged(before + 500)
        assert (api.pid, api.ended()) == (pid, False)  # no restart
        ids = {key for key, _ in logged_rows(f"{replica.url}/vigie")}
        assert set(calls.acknowledged) <= ids
        assert len(calls.acknowledged) == len(set(calls.acknowledged))
        assert set(calls.statuses) == {200, 503}
    finally:
        api.stop(SIGKILL)
