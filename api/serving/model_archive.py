"""The versions of the model that served lately, on disk: a window is measured against the version that served it."""

import logging
import os
import re
import shutil
import time
from pathlib import Path

from model.artifact.store import MANIFEST_FILE, ONNX_FILE, copy_artifact, read_manifest, verified_bytes
from model.errors import ArtifactError

logger = logging.getLogger(__name__)

FOLDER = "models"
"""Below the folder of the reports: what writes them can write there, and hosts that share the reports share these."""
MOST = 5
"""Versions kept; windows hardly wait through five rolls, and each takes the room of an artifact."""
NAME = re.compile(r"\w[\w.-]*")
MAX_COPY_SECONDS = 3600


class ModelArchive:
    """The versions in the folder ``models`` below ``reports_dir``, each a folder that is named after it.

    The form that serves is left out: nothing here ever answers a request.
    """

    def __init__(self, reports_dir: Path) -> None:
        self._folder = reports_dir / FOLDER

    def keep(self, model_dir: Path, version: str) -> None:
        """Keep that version of the artifact in ``model_dir``, and forget the ones kept the longest ago past the most.

        A sound copy that is there already counts as the newest. Raises ArtifactError where the folder holds another
        version by now or is damaged, or nothing can be written; OSError where the folder of the kept ones fails.
        """
        if not NAME.fullmatch(version):
            raise ArtifactError(f"the version {version!r} makes no name of a folder")
        if not self._is_valid(version):
            copy_artifact(model_dir, self._folder / version, version, leave_out={ONNX_FILE})
            logger.info("version %s is kept for the windows that it predicts", version)
        os.utime(self._folder / version)
        self._remove_oldest(version)

    def versions(self) -> list[str]:
        """Return the versions that are kept, the newest last."""
        return [path.name for path in self._kept()]

    def folder_of(self, version: str) -> Path:
        """Return the folder of a kept version, which whoever reads a file of it holds against its hash."""
        return self._folder / version

    def _kept(self) -> list[Path]:
        there = self._folder.iterdir() if self._folder.is_dir() else ()
        kept = [path for path in there if NAME.fullmatch(path.name) and (path / MANIFEST_FILE).is_file()]
        return sorted(kept, key=lambda path: path.stat().st_mtime_ns)

    def _is_valid(self, version: str) -> bool:
        folder = self._folder / version
        if not folder.is_dir():
            return False
        try:
            manifest = read_manifest(folder)
            for name in manifest.files.keys() - {ONNX_FILE}:
                verified_bytes(folder, manifest, name)
        except ArtifactError as error:
            logger.warning("the kept version %s is copied anew: %s", version, error)
            return False
        return manifest.version == version

    def _remove_oldest(self, staying: str) -> None:
        for path in self._kept()[:-MOST]:
            if path.name != staying:
                logger.info("version %s is kept no longer: %d newer ones are", path.name, MOST)
                shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.glob(".*.new-*"):  # a copy that was cut off; a young one may still be being made
            if time.time() - path.stat().st_mtime > MAX_COPY_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
