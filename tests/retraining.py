"""Another version of an artifact, as quick as copying it: the same model files under another manifest."""

import shutil
from pathlib import Path
from typing import Any

from model.artifact.atomic_folder import put_in_place
from model.artifact.manifest import Manifest
from model.artifact.store import MANIFEST_FILE, read_manifest


def retrain(artifact: Path, folder: Path, version: str, **changes: Any) -> Manifest:
    """Put a copy of the artifact with this version, and these changes, in the place of the folder, in one step."""
    manifest = read_manifest(artifact).model_copy(update={"version": version, **changes})
    made = folder.with_name(f".{folder.name}.made")
    shutil.copytree(artifact, made)
    (made / MANIFEST_FILE).write_text(manifest.model_dump_json(), encoding="utf-8")
    put_in_place(made, folder)
    return manifest
