"""Copying an artifact folder: what its manifest lists, each file held against its hash, whole or not at all."""

import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from model.artifact import MANIFEST_FILE, read_manifest, verified_bytes, write_flushed
from model.errors import ArtifactError
from model.folder_swap import flush_folder, put_in_place


def copy_artifact(folder: Path, target: Path, version: str, leave_out: Collection[str] = ()) -> None:
    """Copy that version of an artifact to `target`, but the files to be left out; an earlier copy is replaced.

    A crash at any point leaves the earlier copy, or none, or the new one. Raises ArtifactError where the folder holds
    another version or is damaged, or where the copy cannot be written.
    """
    manifest = read_manifest(folder)
    if manifest.version != version:
        raise ArtifactError(f"{folder} holds the version {manifest.version}, not {version}")
    sibling = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
    try:
        sibling.mkdir(parents=True)
        for name in manifest.files:
            if name not in leave_out:
                write_flushed(sibling / name, verified_bytes(folder, manifest, name))
        write_flushed(sibling / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
        flush_folder(sibling)
        put_in_place(sibling, target)
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(sibling, ignore_errors=True)
