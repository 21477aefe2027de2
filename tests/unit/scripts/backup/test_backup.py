"""What a backup file is held against before anything is put back, and where it may be put."""

import asyncio
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest

from api.prediction_log.database import Database
from api.prediction_log.records import PredictionRecord
from api.prediction_log.writer import LogWriter
from scripts import restore
from scripts.backup import __main__ as backup
from scripts.backup.archive import BadBackup, Places, unpack_backup, write_backup
from tests.logging_rows import as_they_are
from tests.postgres import drop_database, fresh_database


@pytest.fixture
def standing(tmp_path: Path, database_url: str) -> Places:
    """A log with a row, a workspace, a model and a report."""
    log(database_url, "first")
    with closing(sqlite3.connect(tmp_path / "evidently.db")) as workspace:
        workspace.execute("CREATE TABLE snapshots (id TEXT)")
        workspace.commit()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    (tmp_path / "reports" / "2026-11-23").mkdir(parents=True)
    (tmp_path / "reports" / "2026-11-23" / "noon.html").write_text("<p>noon</p>")
    return Places(database_url, f"sqlite:///{tmp_path}/evidently.db", tmp_path / "model", tmp_path / "reports")


def log(url: str, name: str) -> None:
    async def write() -> None:
        database = Database(url)
        database.migrate()
        writer = LogWriter(database, 10, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(name, 0, "v1", "{}", "a", "{}")])
        await writer.close()
        database.dispose()

    asyncio.run(write())


def names(url: str) -> list[str]:
    database = Database(url)
    with database.reading() as connection:
        found = [str(row[0]) for row in connection.exec_driver_sql("SELECT id FROM predictions ORDER BY id")]
    database.dispose()
    return found


def log_id(url: str) -> str:
    database = Database(url)
    found = database.log_id()
    database.dispose()
    return found


@pytest.fixture
def empty(tmp_path: Path, request: pytest.FixtureRequest, standing: Places) -> Iterator[Places]:
    """Places with nothing in them, for databases of the same kind."""
    folder = tmp_path / "elsewhere"
    workspace, model, reports = f"sqlite:///{folder}/evidently.db", folder / "model", folder / "reports"
    if standing.log_url.startswith("sqlite"):
        yield Places(f"sqlite:///{folder}/log.db", workspace, model, reports)
        return
    server, name = request.getfixturevalue("postgres"), f"restored_{uuid4().hex}"
    yield Places(fresh_database(server, name), workspace, model, reports)
    drop_database(server, name)


def test_what_is_restored_is_what_was_there_when_it_was_copied(standing: Places, empty: Places, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "one.tar"
    write_backup(standing, file, lambda _what: None)
    log(standing.log_url, "second")
    restore.restore(file, empty)
    assert names(empty.log_url) == ["first"]
    assert (empty.reports_dir / "2026-11-23" / "noon.html").read_text() == "<p>noon</p>"
    assert (empty.model_dir / "manifest.json").read_text() == "{}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["one.tar"]


@pytest.mark.parametrize("copy", [False, True])
def test_only_a_copy_beside_the_original_becomes_another_log(
    standing: Places, empty: Places, tmp_path: Path, copy: bool
) -> None:
    file = tmp_path / "backup.tar"
    write_backup(standing, file, lambda _: None)
    assert restore.restore(file, empty, copy=copy) == 0
    assert (log_id(empty.log_url) != log_id(standing.log_url)) == copy
    assert names(empty.log_url) == names(standing.log_url)


def test_nothing_is_put_where_something_stands(standing: Places, empty: Places, tmp_path: Path) -> None:
    file = tmp_path / "one.tar"
    write_backup(standing, file, lambda _what: None)
    with pytest.raises(BadBackup, match="these places are not empty: the log's database, the workspace's database"):
        restore.restore(file, standing)
    (empty.reports_dir / "old").mkdir(parents=True)
    with pytest.raises(BadBackup, match="elsewhere/reports"):
        restore.restore(file, empty)
    assert not empty.model_dir.exists()


@pytest.fixture
def file(standing: Places, tmp_path: Path) -> Path:
    write_backup(standing, tmp_path / "one.tar", lambda _what: None)
    return tmp_path / "one.tar"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_that_was_cut_off_is_refused_before_anything_is_put_back(file: Path, empty: Places) -> None:
    whole = file.read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 12_000):
        file.write_bytes(whole[:size])
        with pytest.raises(BadBackup, match=r"cannot be read|cut off|damaged"):
            restore.restore(file, empty)
    assert not empty.model_dir.parent.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_of_which_a_byte_changed_is_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content.replace(b"<p>noon</p>", b"<p>moon</p>"))
    with pytest.raises(BadBackup, match=r"reports/2026-11-23/noon\.html has changed since the backup"):
        unpack_backup(file, tmp_path / "unpacked")


def test_a_file_that_would_be_unpacked_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(tmp_path / "evil", "../escaped")
    with pytest.raises(BadBackup):
        unpack_backup(tmp_path / "evil.tar", tmp_path / "unpacked")
    assert not (tmp_path / "escaped").exists()


def rewritten(file: Path, to: Path, add: Callable[[tarfile.TarFile], None], mode: Literal["w", "w:gz"] = "w") -> Path:
    """Copy a backup, and put something before its list."""
    with tarfile.open(file) as source, tarfile.open(to, mode) as target:
        for member in source:
            if member.name == "backup.json":
                add(target)
            target.addfile(member, source.extractfile(member))
    return to


def stranger(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)

    return add


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("add", "error"),
    [
        (stranger("reports/2026-11-23/late.html"), "in the archive or in its list, but not in both"),
        (stranger("reports/2026-11-23/log.html", tarfile.LNKTYPE, "databases/log"), "is not a plain file"),
        (stranger("reports/2026-11-23/log.html", tarfile.SYMTYPE, "../../databases/log"), "is not a plain file"),
        (stranger("reports/2026-11-23", tarfile.DIRTYPE), "is not a plain file"),
        (stranger("model/pipe", tarfile.FIFOTYPE), "is not a plain file"),
        (stranger("model/manifest.json"), "occurs twice"),
    ],
)
def test_what_a_backup_does_not_list_is_not_unpacked(
    file: Path, tmp_path: Path, add: Callable[[tarfile.TarFile], None], error: str
) -> None:
    with pytest.raises(BadBackup, match=error):
        unpack_backup(rewritten(file, tmp_path / "other.tar", add), tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_compressed_archive_is_no_backup(file: Path, tmp_path: Path) -> None:
    packed = rewritten(file, tmp_path / "packed.tar", lambda _tar: None, "w:gz")
    with pytest.raises(BadBackup, match="cannot be read as a backup"):
        unpack_backup(packed, tmp_path / "unpacked")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_list_that_names_other_places_is_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content.replace(b"model/manifest.json", b"other/manifest.json"))
    with pytest.raises(BadBackup):
        unpack_backup(file, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_links_are_backed_up_as_the_files_they_name(standing: Places, empty: Places, tmp_path: Path) -> None:
    noon = standing.reports_dir / "2026-11-23" / "noon.html"
    (noon.parent / "again.html").hardlink_to(noon)
    (noon.parent / "linked.html").symlink_to(noon)
    write_backup(standing, tmp_path / "one.tar", lambda _what: None)
    restore.restore(tmp_path / "one.tar", empty)
    restored = empty.reports_dir / "2026-11-23"
    assert {path.name: path.read_text() for path in restored.iterdir()} == dict.fromkeys(
        ("noon.html", "again.html", "linked.html"), "<p>noon</p>"
    )
    assert not any(path.is_symlink() for path in restored.iterdir())


def test_a_log_that_is_not_there_is_an_error_not_an_empty_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIGIE_DATABASE_URL", f"sqlite:///{tmp_path}/nowhere.db")
    assert backup.main(["--out", str(tmp_path / "one.tar")]) == 2
    assert f"there is no database at {tmp_path}/nowhere.db" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
