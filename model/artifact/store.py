"""The artifact folder of a model: written and copied whole or not at all, read only where its hashes match."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from model.artifact.atomic_folder import Content, recover, staged_folder, write_flushed
from model.artifact.estimates import Estimates, EstimatesFile
from model.artifact.manifest import ClassifierManifest, Manifest, RegressorManifest, Task
from model.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd


MANIFEST_FILE = "manifest.json"
PIPELINE_FILE = "pipeline.joblib"
ONNX_FILE = "model.onnx"
REFERENCE_FILE = "reference.parquet"
TEST_FILE = "test.parquet"
ESTIMATES_FILE = "estimates.json"
NO_ESTIMATES = "this version of the model was made before estimates were; train or import it again to get them"
OWN_SETTINGS_FILE = "vigie.yaml"
"""A person writes it beside the artifact, to set what differs from one model of an installation to the other."""

_COMMAND = "python -m model.train"
_TRAIN = f"train one with: {_COMMAND}"


class _Kind(BaseModel):
    # read first, so that an error is about the one kind of manifest that it is
    task: Task = "classification"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an artifact folder; raises ArtifactError if there is none or it is damaged."""
    recover(folder)
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"no model in {folder}; {_TRAIN}") from None
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    try:
        if _Kind.model_validate_json(text).task == "regression":
            return RegressorManifest.model_validate_json(text)
        return ClassifierManifest.model_validate_json(text)
    except ValidationError as error:
        if any(wrong["loc"] == ("format",) for wrong in error.errors()):
            raise ArtifactError(
                f"{path} was written by another version of this program; train again: {_COMMAND}"
            ) from error
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ArtifactError(f"{path} is damaged: {where}: {first['msg']}; {_TRAIN}") from error


def verified_bytes(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return a file's content after comparing its SHA-256 with the manifest's; raises ArtifactError.

    Loading from these bytes leaves no moment in which the file could change between check and use. The hashes
    find damage, mixed-up files and tampering with single files; someone who can also rewrite the
    manifest is not stopped, so only those who may train should be able to write to the folder.
    """
    expected = manifest.files.get(name)
    if expected is None:
        raise ArtifactError(f"the manifest in {folder} lists no file {name}")
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; {_TRAIN}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtifactError(f"{path} does not match its SHA-256 in the manifest; it was not opened; {_TRAIN}")
    return content


def verify_artifact(folder: Path) -> Manifest:
    """Return the manifest of a folder all of whose files match it; raises ArtifactError."""
    manifest = read_manifest(folder)
    for name in manifest.files:
        verified_bytes(folder, manifest, name)
    return manifest


def read_reference(folder: Path) -> "pd.DataFrame":
    """Return the reference rows (features, prediction, label, probabilities); raises ArtifactError."""
    return _read_frame(folder, REFERENCE_FILE)


def read_test(folder: Path) -> "pd.DataFrame":
    """Return the test rows (features, prediction, label, probabilities); raises ArtifactError."""
    return _read_frame(folder, TEST_FILE)


def read_estimates(folder: Path) -> Estimates | None:
    """Return what estimated performance needs; None for a model that was made without. Raises ArtifactError."""
    manifest = read_manifest(folder)
    if ESTIMATES_FILE not in manifest.files:
        return None
    try:
        return EstimatesFile.model_validate_json(verified_bytes(folder, manifest, ESTIMATES_FILE)).estimates
    except ValidationError as error:
        raise ArtifactError(f"{folder / ESTIMATES_FILE} was written by another version of this program") from error


def _read_frame(folder: Path, name: str) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - the API reads manifests without paying for pandas

    content = verified_bytes(folder, read_manifest(folder), name)
    return pd.read_parquet(BytesIO(content))


def write_artifact(folder: Path, files: Mapping[str, Content], manifest: Manifest) -> Manifest:
    """Write an artifact folder and return its manifest with `files` and `version` filled in.

    A crash at any point leaves the old artifact or the new one. The version is the time of creation and the start of a
    hash over the files' hashes. Raises ArtifactError if the folder cannot be written or holds something else.
    """
    folder = folder.resolve()
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and not _is_empty_folder(folder):
        raise ArtifactError(f"{folder} exists and is not a model folder; name another one")
    try:
        with staged_folder(folder) as staging:
            hashes = {name: write_flushed(staging / name, content) for name, content in files.items()}
            if (folder / OWN_SETTINGS_FILE).is_file():  # a person's, so it stays when the model is trained again
                write_flushed(staging / OWN_SETTINGS_FILE, (folder / OWN_SETTINGS_FILE).read_bytes())
            complete = manifest.model_copy(update={"files": hashes, "version": _version(manifest, hashes)})
            write_flushed(staging / MANIFEST_FILE, complete.model_dump_json(indent=2).encode())
    except OSError as error:
        raise ArtifactError(f"cannot write {folder}: {error.strerror or error}") from error
    return complete


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _version(manifest: Manifest, hashes: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return f"{manifest.created_at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(lines.encode()).hexdigest()[:8]}"


def copy_artifact(folder: Path, target: Path, version: str) -> None:
    """Copy that version of an artifact to `target`; an earlier copy is replaced.

    A crash at any point leaves the earlier copy, or none, or the new one. Raises ArtifactError where the folder holds
    another version or is damaged, or where the copy cannot be written.
    """
    manifest = read_manifest(folder)
    if manifest.version != version:
        raise ArtifactError(f"{folder} holds the version {manifest.version}, not {version}")
    try:
        with staged_folder(target) as staging:
            for name in manifest.files:
                write_flushed(staging / name, verified_bytes(folder, manifest, name))
            write_flushed(staging / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror or error}") from error
