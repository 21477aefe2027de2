import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlalchemy import delete, func, select

from api.prediction_log import erasure
from api.prediction_log.database import Database
from api.prediction_log.erasure import erase
from api.prediction_log.inserts import insert_predictions, store_labels
from api.prediction_log.models import register
from api.prediction_log.records import LabelRecord, PredictionRecord, prediction_key
from api.prediction_log.tables import labels, predictions
from scripts.erase import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("VIGIE_DATABASE_URL", database_url)
    database = Database(database_url, timeout_seconds=30)
    database.migrate()
    yield database
    database.dispose()


def fill(database: Database, count: int, model_id: int = 1) -> list[str]:
    ids = [f"p{n}" for n in range(count)]
    keys = [prediction_key(model_id, one) for one in ids]
    with database.writing() as connection:
        stamps = database.stamps(connection)
        insert_predictions(connection, stamps, [PredictionRecord(k, 0, "v1", "{}", "a", "{}", model_id) for k in keys])
        store_labels(connection, stamps, [LabelRecord(key, "a") for key in keys])
    return ids


def left(database: Database) -> tuple[int, int]:
    with database.reading() as connection:
        rows, labelled = (select(func.count()).select_from(table) for table in (predictions, labels))
        return connection.execute(rows).scalar_one(), connection.execute(labelled).scalar_one()


def file_of(folder: Path, *ids: str) -> str:
    file = folder / "ids.txt"
    file.write_text("\n".join(ids), encoding="utf-8")
    return str(file)


def test_the_ids_of_a_file_are_erased_once(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = fill(database, 250)
    file = file_of(tmp_path, "", *ids[:220], f"  {ids[0]}  ", "nobody")
    assert main(["--id-file", file]) == 1
    said = capsys.readouterr()
    assert "220 predictions erased" in said.out
    assert "1 ids are not in the log, or were erased before: nobody" in said.err
    assert left(database) == (30, 30)
    assert main(["--id-file", file]) == 1
    assert "0 predictions erased" in capsys.readouterr().out
    assert main(["--id-file", file_of(tmp_path, *ids[220:])]) == 0
    assert left(database) == (0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb c\n", "line 2: 'b c' is not an id; nothing was erased"),
        (b"\n \n", "holds no id"),
        ("é".encode("utf-16"), "is not a text file in UTF-8"),
        (b"p0\n" + b"x" * 200, "line 2"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_is_none_of_ids_erases_nothing(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    fill(database, 1)
    file = tmp_path / "ids.txt"
    if content is not None:
        file.write_bytes(content)
    assert main(["--id-file", str(file)]) == 2
    assert message in capsys.readouterr().err
    assert left(database) == (1, 1)


def test_an_id_belongs_to_one_model(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = register(database, ["iris", "wine"], "iris")
    fill(database, 2)
    fill(database, 2, known["wine"])
    assert main(["--id-file", file_of(tmp_path, "p0"), "--model", "rose"]) == 2
    assert "the log has no model 'rose'; it has iris, wine" in capsys.readouterr().err
    assert main(["--id-file", file_of(tmp_path, "p0")]) == 2
    assert "the log has the rows of several models; name one with --model: iris, wine" in capsys.readouterr().err
    assert left(database) == (4, 4)
    assert main(["--id-file", file_of(tmp_path, "p0", "p1"), "--model", "wine"]) == 0
    with database.reading() as connection:
        assert sorted(connection.execute(select(predictions.c.id)).scalars()) == ["p0", "p1"]


def test_it_can_be_killed_and_run_again(database: Database, database_url: str, tmp_path: Path) -> None:
    ids = fill(database, 3000)
    file = file_of(tmp_path, *ids)
    environment = {"PATH": "/usr/bin:/bin", "VIGIE_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "scripts.erase", "--id-file", file]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = monotonic() + 100
        while left(database)[0] == 3000:
            assert monotonic() < deadline
            sleep(0.005)
        process.send_signal(signal.SIGKILL)
    rows, labelled = left(database)
    assert 0 < rows < 3000
    assert labelled == rows
    assert main(["--id-file", file]) == 1
    assert left(database) == (0, 0)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has a foreign key for that
def test_a_label_that_an_erasure_of_an_older_version_left_behind_goes_when_its_id_is_erased_again(
    database: Database,
) -> None:
    fill(database, 3)
    with database.writing() as connection:  # as that version did
        connection.execute(delete(predictions).where(predictions.c.id == "p0"))
    assert left(database) == (2, 3)
    assert erase(database, ["p0"], by="a test") == []
    assert left(database) == (2, 2)


def test_a_label_that_is_being_stored_is_waited_for(database: Database) -> None:
    ids = fill(database, 5)
    locked, done = threading.Event(), threading.Event()

    def store() -> None:
        with database.writing() as connection:
            store_labels(connection, database.stamps(connection), [LabelRecord("p3", "b")])
            locked.set()
            sleep(0.3)
        done.set()

    thread = threading.Thread(target=store)
    thread.start()
    locked.wait(30)
    assert sorted(erase(database, ids, by="a test")) == ids
    assert done.is_set()
    thread.join(30)
    assert left(database) == (0, 0)
    assert erasure.digest("p3") not in ids
