"""The artifact folder: whole or not at all, and opened only where the hashes match."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import joblib
import pytest

from model.artifact import atomic_folder
from model.artifact.estimates import ClassEstimates
from model.artifact.manifest import ClassifierManifest
from model.artifact.store import (
    ESTIMATES_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    PIPELINE_FILE,
    read_estimates,
    read_manifest,
    read_reference,
    read_test,
    verified_bytes,
    verify_artifact,
    write_artifact,
)
from model.errors import ArtifactError
from model.serving.predictor import load_predictor


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def folder(iris_artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(iris_artifact, tmp_path / "model")


def rewrite_manifest(folder: Path, **changes: object) -> None:
    manifest = ClassifierManifest.model_validate(read_manifest(folder).model_dump() | changes)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())


def test_every_file_of_a_trained_artifact_matches_its_manifest(folder: Path) -> None:
    manifest = verify_artifact(folder)
    assert {*manifest.files, MANIFEST_FILE} == {path.name for path in folder.iterdir()}


def test_a_tampered_pickle_is_refused_before_it_runs(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    joblib.dump(Bomb(mark), folder / PIPELINE_FILE)
    rewrite_manifest(folder, engine="scikit-learn")
    with pytest.raises(ArtifactError, match="SHA-256"):
        load_predictor(folder)
    assert not mark.exists()
    joblib.load(folder / PIPELINE_FILE)
    assert mark.exists(), "the trap must work for this test to mean anything"


@pytest.mark.parametrize("name", [ONNX_FILE, "reference.parquet", "test.parquet"])
def test_one_changed_byte_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    read = {ONNX_FILE: load_predictor, "reference.parquet": read_reference, "test.parquet": read_test}[name]
    with pytest.raises(ArtifactError, match=f"{name} does not match"):
        read(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / ONNX_FILE).unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx.*python -m model\.train"):
        load_predictor(folder)


def test_a_file_that_the_manifest_does_not_list_is_not_opened(folder: Path) -> None:
    (folder / "extra").write_text("x")
    with pytest.raises(ArtifactError, match="lists no file extra"):
        verified_bytes(folder, read_manifest(folder), "extra")


def test_a_file_that_matches_but_cannot_be_loaded_is_reported_as_such(folder: Path) -> None:
    content = b"not a model"
    (folder / ONNX_FILE).write_bytes(content)
    rewrite_manifest(folder, files=read_manifest(folder).files | {ONNX_FILE: sha256(content).hexdigest()})
    with pytest.raises(ArtifactError, match="cannot load"):
        load_predictor(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}'])
def test_a_damaged_manifest_is_reported(folder: Path, text: str) -> None:
    (folder / MANIFEST_FILE).write_text(text)
    with pytest.raises(ArtifactError, match="damaged"):
        read_manifest(folder)


def test_a_manifest_of_an_older_version_asks_for_a_new_training(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_text('{"format": 1, "name": "iris"}')
    with pytest.raises(ArtifactError, match=r"another version.*train again: python -m model\.train"):
        read_manifest(folder)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"python -m model\.train"):
        read_manifest(tmp_path / "nothing")


def test_a_trained_artifact_has_what_estimates_performance(folder: Path) -> None:
    estimates = read_estimates(folder)
    assert isinstance(estimates, ClassEstimates)
    assert len(estimates.curves) == 3
    assert estimates.rows == read_manifest(folder).data.rows


def test_an_artifact_from_before_estimates_has_none(folder: Path) -> None:
    files = read_manifest(folder).files
    rewrite_manifest(folder, files={name: files[name] for name in files if name != ESTIMATES_FILE})
    (folder / ESTIMATES_FILE).unlink()
    verify_artifact(folder)
    assert read_estimates(folder) is None


def test_damaged_estimates_are_reported(folder: Path) -> None:
    content = b'{"estimates": {"task": "another"}}'
    (folder / ESTIMATES_FILE).write_bytes(content)
    rewrite_manifest(folder, files=dict(read_manifest(folder).files) | {ESTIMATES_FILE: sha256(content).hexdigest()})
    with pytest.raises(ArtifactError, match=ESTIMATES_FILE):
        read_estimates(folder)


def test_frames_hold_what_the_manifest_says(folder: Path) -> None:
    manifest = read_manifest(folder)
    columns = [
        *manifest.feature_names,
        "prediction",
        "label",
        *(f"probability_{name}" for name in manifest.class_names),
    ]
    for frame, rows in (
        (read_reference(folder), manifest.data.reference_rows),
        (read_test(folder), manifest.data.test_rows),
    ):
        assert list(frame.columns) == columns
        assert len(frame) == rows
        assert set(frame["prediction"]) | set(frame["label"]) <= set(manifest.class_names)


def test_writing_replaces_an_artifact_and_leaves_nothing_beside_it(folder: Path) -> None:
    draft = read_manifest(folder)
    written = write_artifact(folder, {"a.bin": b"a", "b.bin": lambda path: path.write_text("b") and None}, draft)
    assert verify_artifact(folder) == written
    assert set(written.files) == {"a.bin", "b.bin"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_failed_write_leaves_the_old_artifact(folder: Path) -> None:
    before = verify_artifact(folder)

    def disk_full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left"):
        write_artifact(folder, {"a.bin": b"a", "b.bin": disk_full}, before)
    assert verify_artifact(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_process_killed_while_writing_leaves_the_old_artifact(folder: Path) -> None:
    before = verify_artifact(folder)
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from model.artifact.store import read_manifest, write_artifact\n"
        "folder = Path(sys.argv[1])\n"
        "die = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_artifact(folder, {'a.bin': b'a', 'b.bin': die}, read_manifest(folder))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert verify_artifact(folder) == before


def test_what_a_killed_write_left_is_cleared_away_once_it_is_old(folder: Path) -> None:
    leftover = folder.with_name(".model.new-dead")
    leftover.mkdir()
    write_artifact(folder, {}, read_manifest(folder))
    assert leftover.exists(), "it may belong to a training that is still writing"
    os.utime(leftover, (0, 0))
    write_artifact(folder, {}, read_manifest(folder))
    assert not leftover.exists()


def test_where_names_cannot_be_exchanged_the_folder_is_still_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_folder, "_exchange", lambda *_: False)
    written = write_artifact(folder, {"a.bin": b"a"}, read_manifest(folder))
    assert verify_artifact(folder) == written
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_replacement_cut_off_between_its_two_steps_is_undone(folder: Path) -> None:
    before = verify_artifact(folder)
    folder.rename(folder.with_name(".model.previous"))
    assert verify_artifact(folder) == before


def test_a_folder_with_other_things_in_it_is_not_replaced(iris_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(ArtifactError, match="not a model folder"):
        write_artifact(tmp_path, {}, read_manifest(iris_artifact))
    assert (tmp_path / "photo.jpg").exists()


def test_a_place_that_cannot_be_written_is_reported(iris_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        write_artifact(tmp_path / "file" / "model", {}, read_manifest(iris_artifact))
