"""Sending files of predictions to a real API process, whose callers need keys."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text

from api.prediction_log.database import Database
from scripts.ingest.__main__ import main
from scripts.ingest.sender import IngestError, Item, Sender
from scripts.keys import create_key
from tests.integration.scripts.processes import ROOT, environment, eventually
from tests.logging_rows import row_by_name
from tests.servers import Server, await_answer, free_port
from tests.watched import csv_of, loans


@dataclass(frozen=True)
class Api:
    """A running API, and its log."""

    url: str
    database: Path
    key: str
    slow_key: str

    def logged(self, prefix: str) -> list[dict[str, Any]]:
        """Return the predictions whose id begins like this, with their labels, in the order in which they came."""
        query = text(
            "SELECT p.*, l.label FROM predictions p LEFT JOIN labels l ON l.prediction_id = p.id WHERE p.id LIKE :like "
            "ORDER BY p.logged_at, p.rowid"
        )
        database = Database(f"sqlite:///{self.database}")
        with closing(database.engine.connect()) as connection:
            rows = connection.execute(query, {"like": f"{prefix}%"}).mappings().all()
            found = [row_by_name(connection, dict(row)) for row in rows]
        database.dispose()
        return found


@pytest.fixture(scope="module")
def api(watched_artifact: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    port = free_port()
    running = Api(
        f"http://127.0.0.1:{port}",
        folder / "vigie.db",
        create_key(folder / "keys.jsonl", "night", ["predict"]),
        create_key(folder / "keys.jsonl", "slow", ["predict"], rows_per_second=20),
    )
    own = {
        "VIGIE_PORT": str(port),
        "VIGIE_MODEL_DIR": str(watched_artifact("classes")),
        "VIGIE_DATABASE_URL": f"sqlite:///{running.database}",
        "VIGIE_REPORTS_DIR": str(folder / "reports"),
        "VIGIE_SNAPSHOTS": "false",
        "VIGIE_API_KEYS_FILE": str(folder / "keys.jsonl"),
    }
    process = Server([sys.executable, "-m", "api"], folder / "api.log", cwd=ROOT, env=environment(**own))
    try:
        await_answer(f"{running.url}/health/ready", process)
        yield running
    finally:
        process.stop()


@pytest.fixture(autouse=True)
def key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_API_KEY", api.key)


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "night.csv"
    file.write_text(csv_of(rows), encoding="utf-8")
    return file


def ingest(api: Api, file: Path, *options: str) -> int:
    return main([str(file), "--model", "loans", "--url", api.url, "--id", "loan", *options])


def test_each_row_is_logged_once_in_order_however_often_it_is_sent(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = loans(700, seed=11)
    file = write(tmp_path, rows)
    assert ingest(api, file, "--batch", "64") == 0
    assert "700 rows: 700 logged, 0 logged before, 0 refused; 700 labels" in capsys.readouterr().out
    assert ingest(api, file) == 0
    assert "700 rows: 0 logged, 700 logged before, 0 refused" in capsys.readouterr().out
    found = api.logged("11-")
    assert [row["id"] for row in found] == [row["loan"] for row in rows]
    for kept, row in zip(found, rows, strict=True):
        assert (kept["prediction"], kept["label"]) == (row["decision"], row["defaulted"])
        features = json.loads(kept["features"])
        assert (features["income"], features["age"], features["region"]) == (row["income"], row["age"], row["region"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night.csv"], "nothing is left beside the file"


def test_parquet_is_sent_too_and_ids_are_made_where_it_has_none(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = loans(300, seed=12)
    file = tmp_path / "night.parquet"
    pd.DataFrame(rows).drop(columns=["loan", "defaulted"]).to_parquet(file)
    command = [str(file), "--model", "loans", "--url", api.url]
    assert main(command) == main(command) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "300 rows: 300 logged, 0 logged before, 0 refused; 0 labels" in first
    assert "300 rows: 0 logged, 300 logged before" in second


def test_bad_rows_are_listed_with_line_and_reason_and_the_others_logged(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = loans(60, seed=13)
    assert ingest(api, write(tmp_path, rows[50:51])) == 0
    rows[3] |= {"decision": ""}
    rows[10] |= {"decision": "maybe"}
    rows[20] |= {"p_yes": 0.9, "p_no": 0.9}
    rows[30] |= {"income": "much", "defaulted": "perhaps"}
    rows[40] |= {"loan": "two words"}
    rows[50] |= {"decision": "yes" if rows[50]["decision"] == "no" else "no"}
    file = write(tmp_path, rows)
    assert ingest(api, file, "--batch", "25") == 1
    printed = capsys.readouterr()
    assert "60 rows: 54 logged, 0 logged before, 6 refused" in printed.out
    assert "night.csv.rejected.csv" in printed.err
    with (tmp_path / "night.csv.rejected.csv").open(newline="") as listed:
        refused = {int(row["line"]): row["reason"] for row in csv.DictReader(listed)}
    expected = {
        5: "the prediction is missing",
        12: "prediction: the prediction must be one of the classes no, yes",
        22: "probabilities: add up to 1.8, not to 1",
        32: "features.income: Input should be a valid number; label: the label must be one of the classes no, yes",
        42: "cannot be an id",
        52: "belongs to another row",
    }
    assert refused.keys() == expected.keys()
    assert all(said in refused[line] for line, said in expected.items()), refused
    bad = {rows[line - 2]["loan"] for line in expected if line != 52}
    assert [row["id"] for row in sorted(api.logged("13-"), key=lambda one: str(one["id"]))] == [
        row["loan"] for row in rows if row["loan"] not in bad
    ]


def test_an_id_that_stands_twice_in_a_file_is_logged_once_and_another_row_under_it_named_by_its_line(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = loans(10, seed=16)
    file = write(tmp_path, [*rows, rows[4], rows[7] | {"age": 17}])
    assert ingest(api, file) == 1
    assert "12 rows: 10 logged, 1 logged before, 1 refused" in capsys.readouterr().out
    with (tmp_path / "night.csv.rejected.csv").open(newline="") as listed:
        (refused,) = csv.DictReader(listed)
    assert refused["line"] == "13"
    assert "'16-0000007' is the id of line 9 too; send each id once" in refused["reason"]
    assert len(api.logged("16-")) == 10


def test_a_run_that_was_killed_goes_on_where_it_was(api: Api, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = loans(4_000, seed=14)
    rows[0] |= {"decision": ""}
    file = write(tmp_path, rows)
    progress = tmp_path / "night.csv.ingest.json"
    command = [sys.executable, "-m", "scripts.ingest", str(file), "--model", "loans", "--url", api.url, "--id", "loan"]
    command += ["--batch", "10"]
    keyed = environment(VIGIE_API_KEY=api.key)
    process = Server(command, tmp_path / "log", cwd=ROOT, env=keyed)
    assert eventually(progress.exists, 60)
    process.stop(SIGKILL)
    before = len(api.logged("14-"))
    assert 0 < before < 3_999
    again = subprocess.run(command, cwd=ROOT, env=keyed, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 1, again.stderr
    assert "going on after line" in again.stderr
    assert "4,000 rows: " in again.stdout
    assert [row["id"] for row in api.logged("14-")] == [row["loan"] for row in rows[1:]]
    assert not progress.exists()
    with (tmp_path / "night.csv.rejected.csv").open(newline="") as listed:
        assert [row["line"] for row in csv.DictReader(listed)] == ["2"]


def test_it_waits_where_the_key_has_a_limit(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_API_KEY", api.slow_key)  # 200 rows at once, then 20 a second
    assert ingest(api, write(tmp_path, loans(240, seed=15)), "--batch", "110") == 0
    assert len(api.logged("15-")) == 240


def test_without_a_key_or_the_model_nothing_is_sent(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, loans(5, seed=16))
    assert main([str(file), "--model", "churn", "--url", api.url]) == 2
    assert "there is no model 'churn'" in capsys.readouterr().err
    monkeypatch.delenv("VIGIE_API_KEY")
    assert ingest(api, file) == 2
    assert "this call needs an API key" in capsys.readouterr().err


def test_an_api_that_does_not_answer_is_asked_again_for_a_while(api: Api) -> None:
    item = Item(1, 2, {"features": {}, "prediction": "no", "prediction_id": "17-1"})
    away = f"http://127.0.0.1:{free_port()}"
    with Sender(away, "loans", api.key, patience_seconds=0.5) as sender:
        with pytest.raises(IngestError, match="cannot reach the API"):
            sender.card()
        with pytest.raises(IngestError, match=r"nothing answered at .*Run the command again to go on"):
            sender.send([item])
    with pytest.raises(IngestError, match="not the address of an API"):
        Sender("loans", "loans", None)
