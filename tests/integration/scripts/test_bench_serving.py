"""The serving benchmark: servers answer, loaders count right, tables add up. Never a time."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest

from api.prediction_log.database import Database
from model.artifact.store import read_manifest
from scripts.bench import __main__ as command
from scripts.bench.serving.loader import Plan, Seen
from scripts.bench.serving.measuring import (
    BesideSnapshot,
    Comparison,
    Load,
    Memory,
    Shared,
    measure_workers,
    run_wrk,
    wrk_version,
)
from scripts.bench.serving.results import Results
from scripts.bench.serving.servers import (
    NOOP,
    ON_POSTGRESQL,
    OURS,
    TUTORIAL,
    Running,
    noop,
    ours,
    peer_servers,
    postgres_processes,
    running,
    tutorial,
)
from scripts.load.pool import read_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def rows(iris_artifact: Path) -> tuple[dict[str, Any], ...]:
    manifest = read_manifest(iris_artifact)
    return read_rows(iris_artifact, manifest.features)


@pytest.fixture(scope="module")
def servers(iris_artifact: Path, folder: Path) -> Iterator[dict[str, Running]]:
    with (
        running(noop(iris_artifact), folder, None) as limit,
        running(ours(iris_artifact, folder), folder, None) as vigie,
        running(tutorial(iris_artifact, folder / "log.csv"), folder, None) as usual,
    ):
        yield {one.server.name: one for one in (limit, vigie, usual)}


def logged(folder: Path) -> int:
    connection = sqlite3.connect(folder / "vigie.db")
    try:
        return int(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])
    finally:
        connection.close()


def test_servers_give_the_same_row_the_same_prediction_in_the_same_shape(
    servers: dict[str, Running], rows: tuple[dict[str, Any], ...]
) -> None:
    for row in rows[::10]:
        answers = {name: httpx.post(f"{one.url}/predict", json=row).json() for name, one in servers.items()}
        assert len({frozenset(answer) for answer in answers.values()}) == 1
        assert answers[OURS]["prediction"] == answers[TUTORIAL]["prediction"]
        assert answers[OURS]["probabilities"] == pytest.approx(answers[TUTORIAL]["probabilities"], abs=1e-5)


@pytest.mark.parametrize("name", [NOOP, OURS, TUTORIAL])
def test_a_server_refuses_what_is_no_row(servers: dict[str, Running], name: str) -> None:
    assert httpx.post(f"{servers[name].url}/predict", json={"sepal_length": "long"}).status_code == 422


@pytest.mark.parametrize("connections", [1, 7])
def test_our_loader_counts_what_the_servers_logged(
    servers: dict[str, Running], folder: Path, rows: tuple[dict[str, Any], ...], connections: int
) -> None:
    load = Load(rows, folder, None, wrk=False)
    bodies = load.bodies("rows", rows)
    before = logged(folder)
    seen = load.run(Plan(servers[OURS].port, "/predict", bodies, connections, requests=100))
    assert (seen.requests, seen.refused, logged(folder) - before) == (100, 0, 100)
    assert 0 < seen.p50 <= seen.p99 <= seen.seconds
    log = folder / "log.csv"
    lines = len(log.read_text().splitlines()) if log.exists() else 0
    load.run(Plan(servers[TUTORIAL].port, "/predict", bodies, connections, requests=10))
    assert len(log.read_text().splitlines()) - lines == 10


def test_our_loader_keeps_a_rate(servers: dict[str, Running], folder: Path, rows: tuple[dict[str, Any], ...]) -> None:
    load = Load(rows, folder, None, wrk=True)  # wrk knows no rate
    before = logged(folder)
    seen = load.run(Plan(servers[OURS].port, "/predict", load.bodies("rows", rows), 4, seconds=1, rate=50))
    assert seen.requests == logged(folder) - before == 50


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on this machine (Debian: apt-get install wrk)")
def test_wrk_counts_what_was_logged(
    servers: dict[str, Running], folder: Path, rows: tuple[dict[str, Any], ...]
) -> None:
    assert wrk_version()
    bodies = Load(rows, folder, None, wrk=True).bodies("rows", rows)
    before = logged(folder)
    seen = run_wrk(Plan(servers[OURS].port, "/predict", bodies, 4, seconds=1), None)
    # a request under way at the end of the time is logged, but wrk no longer waits for its answer
    assert seen.requests <= logged(folder) - before <= seen.requests + 4
    assert seen.refused == 0


def test_a_refused_request_ends_the_measurement(servers: dict[str, Running], folder: Path) -> None:
    load = Load([], folder, None, wrk=False)
    bodies = load.bodies("bad", [{"sepal_length": "long"}])
    with pytest.raises(RuntimeError, match="2 of 2 requests"):
        load.run(Plan(servers[OURS].port, "/predict", bodies, 1, requests=2))


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no model in"), running(ours(tmp_path, tmp_path), tmp_path, None):
        pass


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path) -> None:
    servers, missing = peer_servers(["mlserver"], None, tmp_path, tmp_path)
    assert servers == []
    assert missing == ["mlserver, which this Python does not have"]


def test_the_tables_hold_the_measurements_against_the_goals() -> None:
    seen = Seen(1600, 0, 8.0, 0.002, 0.004)
    results = Results(
        "two cores",
        "python -m scripts.bench serving",
        "wrk",
        comparisons=[
            Comparison(name, 32, rate, 0.001, 0.002, 3e-4)
            for name, rate in ((NOOP, 1000), (OURS, 700), (ON_POSTGRESQL, 630), (TUTORIAL, 10))
        ],
        missing=["mlserver, which this Python does not have"],
        batches={
            OURS: {1: (500.0, 0.002), 100: (60_000.0, 0.004)},
            ON_POSTGRESQL: {1: (400.0, 0.003), 100: (45_000.0, 0.005)},
        },
        memory=Memory((100_000, 1_000_000), (2**27, 2**27)),
        starts={OURS: 2.5},
        beside=BesideSnapshot(200, seen, Seen(1600, 0, 8.0, 0.002, 0.005), 50_000, 9.0),
    )
    table = results.markdown()
    ratios = [line for line in table.splitlines() if "at least" in line or "at most" in line]
    assert [line.split("|")[3].strip() for line in ratios] == ["0.70", "70.00", "0.90", "0.75", "60,000", "1.25"]
    assert [line.split("|")[4].strip() for line in ratios] == ["no", "yes", "yes", "no", "yes", "yes"]
    assert "Not measured: mlserver" in table
    assert "128.0" in table


def test_the_command_measures_a_part_and_prints_it(
    iris_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = "scripts.bench.serving.command.train_model"
    monkeypatch.setattr(train, lambda _dataset, folder: copytree(iris_artifact, folder))
    assert command.main(["serving", "--parts", "memory", "--memory-rows", "1000", "--own-loader"]) == 0
    printed = capsys.readouterr().out
    assert "### Memory" in printed
    assert json.dumps(printed).count("resident MiB") == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_several_processes_share_one_log_and_their_cpu_time_is_that_of_all(
    iris_artifact: Path, tmp_path: Path, rows: tuple[dict[str, Any], ...], database_url: str
) -> None:
    load = Load(rows, tmp_path, None, wrk=False)
    (found,) = measure_workers(iris_artifact, load, database_url, rounds=1, seconds=1, counts=(2,))
    assert (found.workers, found.rate > 0, found.p50 <= found.p99) == (2, True, True)
    assert found.cpu > 0
    database = Database(database_url)
    with database.reading() as connection:
        answered = connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one()
    assert answered >= found.rate  # and what warmed them up
    assert postgres_processes(database_url)
    database.dispose()
    results = Results(
        "two cores", "python -m scripts.bench serving", "wrk", workers=[found, Shared(4, 100, 0.1, 0.2, 4e-4, 1e-4)]
    )
    assert "| 4         | 100" in results.markdown()
    assert "| 2,000" in results.markdown()
