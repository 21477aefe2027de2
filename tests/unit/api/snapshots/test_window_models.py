"""Which version of the model a window is measured against."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.prediction_log.database import Database
from api.prediction_log.reader import VersionCount, count_versions
from api.prediction_log.records import LabelRecord, PredictionRecord
from api.prediction_log.writer import LogWriter
from api.serving.model_archive import MAX_VERSIONS, ModelArchive
from api.snapshots.window_models import MIN_EXPLAINED_ROWS, WindowExplanations, WindowModels
from model.artifact.store import MANIFEST_FILE, ONNX_FILE, REFERENCE_FILE, read_reference, verify_artifact
from model.errors import ArtifactError
from model.statistics.attribution import MAX_EXPLAINED_ROWS
from tests.logging_rows import as_they_are
from tests.retraining import retrain


@pytest.fixture
def folder(tmp_path: Path, iris_artifact: Path) -> Path:
    retrain(iris_artifact, tmp_path / "model", "v1")
    return tmp_path / "model"


def archive_of(folder: Path) -> ModelArchive:
    return ModelArchive(folder.parent / "reports")


def chosen(models: WindowModels, **counts: tuple[int, int]) -> str:
    found = {version: VersionCount(*count) for version, count in counts.items()}
    return models.choose(found, min_rows=30, min_labels=30).manifest.version


def test_a_window_is_measured_against_the_version_that_made_most_of_its_rows(folder: Path) -> None:
    models = WindowModels(folder, archive_of(folder))
    retrain(folder, folder, "v2")
    assert chosen(models, v1=(500, 0), v2=(400, 0)) == "v1"
    assert chosen(models, v1=(400, 0), v2=(500, 0)) == "v2"
    assert chosen(models, v1=(400, 0)) == "v1"  # a window that had waited while another version was loaded
    assert chosen(models, v1=(0, 400), v2=(40, 0)) == "v2"  # late labels hide no drift of what serves
    assert chosen(models, v1=(0, 400), v2=(5, 0)) == "v1"
    assert chosen(models, v1=(50, 50), v2=(50, 50)) == chosen(models) == "v2"
    assert chosen(models, elsewhere=(500, 0)) == "v2"


def test_a_version_is_read_once_it_has_made_rows_not_when_it_was_trained(folder: Path) -> None:
    models = WindowModels(folder, archive_of(folder))
    retrain(folder, folder, "v2")
    assert chosen(models, v1=(500, 0)) == "v1"
    assert models.newest.manifest.version == "v1"


def test_only_windows_that_need_a_damaged_folder_wait(folder: Path) -> None:
    models = WindowModels(folder, archive_of(folder))
    (folder / MANIFEST_FILE).write_text("{", encoding="utf-8")
    assert chosen(models, v1=(500, 0)) == "v1"
    assert chosen(models) == "v1"
    with pytest.raises(ArtifactError, match="damaged"):
        chosen(models, v2=(500, 0))
    with pytest.raises(ArtifactError, match="damaged"):
        WindowModels(folder, archive_of(folder))


def test_only_a_few_versions_are_kept_in_memory(folder: Path) -> None:
    models = WindowModels(folder, archive_of(folder))
    for version in ("v2", "v3", "v4"):
        retrain(folder, folder, version)
        assert chosen(models, **{version: (500, 0)}) == version
    assert chosen(models, v2=(500, 0)) == "v2"
    assert chosen(models, v1=(500, 0)) == "v4"


def test_a_version_that_served_before_a_restart_is_available_and_explained(folder: Path) -> None:
    archive_of(folder).keep(folder, "v1")
    retrain(folder, folder, "v2")
    models = WindowModels(folder, archive_of(folder))
    found = models.choose({"v1": VersionCount(500, 0), "v2": VersionCount(400, 0)}, min_rows=30, min_labels=30)
    assert found.manifest.version == "v1"
    attributions, missing = found.explanations.explain(found.reference, timedelta(minutes=5))
    assert (attributions is not None, missing) == (True, None)
    assert models.newest.manifest.version == "v2"
    assert chosen(models, v2=(500, 0)) == chosen(models) == "v2"


def test_no_window_waits_for_an_archived_version_that_is_damaged(folder: Path) -> None:
    archive_of(folder).keep(folder, "v1")
    (archive_of(folder).folder_of("v1") / REFERENCE_FILE).write_bytes(b"other rows")
    retrain(folder, folder, "v2")
    assert chosen(WindowModels(folder, archive_of(folder)), v1=(500, 0), v2=(400, 0)) == "v2"


def test_of_the_versions_that_served_only_the_newest_few_stay_in_the_archive(folder: Path) -> None:
    archive = archive_of(folder)
    for number in range(1, MAX_VERSIONS + 1):
        retrain(folder, folder, f"v{number}")
        archive.keep(folder, f"v{number}")
    retrain(folder, folder, "v1")
    archive.keep(folder, "v1")  # rolled back: what serves now is the newest again
    retrain(folder, folder, "new")
    archive.keep(folder, "new")
    assert archive.versions() == [*(f"v{number}" for number in range(3, MAX_VERSIONS + 1)), "v1", "new"]


def test_a_copy_of_an_earlier_release_without_the_onnx_file_is_measured_and_completed(folder: Path) -> None:
    archive = archive_of(folder)
    archive.keep(folder, "v1")
    (archive.folder_of("v1") / ONNX_FILE).unlink()
    retrain(folder, folder.with_name("newer"), "v2")
    assert chosen(WindowModels(folder.with_name("newer"), archive), v1=(500, 0), v2=(400, 0)) == "v1"
    archive.keep(folder, "v1")
    assert verify_artifact(archive.folder_of("v1")).version == "v1"


def test_a_damaged_copy_is_made_anew_and_another_version_never_replaces_it(folder: Path) -> None:
    archive = archive_of(folder)
    archive.keep(folder, "v1")
    reference = archive.folder_of("v1") / REFERENCE_FILE
    whole = reference.read_bytes()
    reference.write_bytes(whole[:100])
    archive.keep(folder, "v1")
    assert reference.read_bytes() == whole
    with pytest.raises(ArtifactError, match="holds the version v1, not v2"):
        archive.keep(folder, "v2")
    with pytest.raises(ArtifactError, match="cannot be the name of a folder"):
        archive.keep(folder, "../v1")
    assert archive.versions() == ["v1"]


def test_what_a_copy_that_was_cut_off_left_is_removed_after_a_while(folder: Path) -> None:
    archive = archive_of(folder)
    left = archive.folder_of(".v0.new-0123")
    left.mkdir(parents=True)
    archive.keep(folder, "v1")
    assert left.is_dir()  # another process may be writing it
    os.utime(left, (0, 0))
    archive.keep(folder, "v1")
    assert not left.exists()


def test_rows_and_labels_are_counted_by_version(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()

    async def write() -> None:
        writer = LogWriter(database, 100, respond=as_they_are)
        writer.start()
        await writer.log_responses([PredictionRecord(f"{n}", n, f"v{n % 2}", "{}", "a", "{}") for n in range(5)])
        await writer.log_labels([LabelRecord("1", "a"), LabelRecord("3", "b"), LabelRecord("4", "a")])
        await writer.close()

    asyncio.run(write())
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert count_versions(database, now - hour, now + hour) == {"v0": VersionCount(3, 1), "v1": VersionCount(2, 2)}
    assert count_versions(database, now + hour, now + 2 * hour) == {}
    database.dispose()


def test_as_many_rows_are_explained_as_a_share_of_the_window_pays_for(iris_artifact: Path) -> None:
    explanations = WindowExplanations(iris_artifact)
    window = read_reference(iris_artifact).sample(2_000, replace=True, random_state=0)
    found, missing = explanations.explain(window, timedelta(hours=1))
    assert missing is None
    assert found is not None
    assert len(found) == MAX_EXPLAINED_ROWS
    found, _ = explanations.explain(window, timedelta(milliseconds=10))
    assert found is not None
    assert len(found) == MIN_EXPLAINED_ROWS
