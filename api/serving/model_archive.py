"""The versions of the model that served recently, on disk: to measure their windows, and to serve one of them again."""

import logging
import os
import re
import shutil
import time
from pathlib import Path

from model.artifact.store import MANIFEST_FILE, copy_artifact, read_manifest, verified_bytes
from model.errors import ArtifactError

logger = logging.getLogger(__name__)

FOLDER = "models"
"""Below the folder of the reports: it is writable, and hosts that share the reports share the archive too."""
MAX_VERSIONS = 5
"""Few windows wait through five reloads, and each version takes the disk space of an artifact."""
NAME = re.compile(r"\w[\w.-]*")
MAX_COPY_SECONDS = 3600


class ModelArchive:
    """The versions in the folder ``models`` below ``reports_dir``, each in a folder of its name.

    Each is a whole artifact: put in the place of the model, it serves again as it did.
    """

    def __init__(self, reports_dir: Path) -> None:
        self._folder = reports_dir / FOLDER

    def keep(self, model_dir: Path, version: str) -> None:
        """Copy that version of the artifact from ``model_dir``, and remove the oldest versions above `MAX_VERSIONS`.

        A valid copy that is there already becomes the newest. Raises ArtifactError if ``model_dir`` holds another
        version or is damaged, or the copy cannot be written; OSError if the archive cannot be read.
        """
        if not NAME.fullmatch(version):
            raise ArtifactError(f"the version {version!r} cannot be the name of a folder")
        if not self._is_valid(version):
            copy_artifact(model_dir, self._folder / version, version)
            logger.info("version %s is kept", version)
        os.utime(self._folder / version)
        self._remove_oldest(version)

    def versions(self) -> list[str]:
        """Return the archived versions, the newest last."""
        return [path.name for path in self._kept()]

    def folder_of(self, version: str) -> Path:
        """Return the folder of an archived version; a reader checks each file against its hash."""
        return self._folder / version

    def _kept(self) -> list[Path]:
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        kept = [path for path in paths if NAME.fullmatch(path.name) and (path / MANIFEST_FILE).is_file()]
        return sorted(kept, key=lambda path: path.stat().st_mtime_ns)

    def _is_valid(self, version: str) -> bool:
        folder = self._folder / version
        if not folder.is_dir():
            return False
        try:
            manifest = read_manifest(folder)
            for name in manifest.files:  # the copies of earlier releases lack the ONNX file
                verified_bytes(folder, manifest, name)
        except ArtifactError as error:
            logger.warning("the kept version %s is damaged or incomplete and is copied again: %s", version, error)
            return False
        return manifest.version == version

    def _remove_oldest(self, current: str) -> None:
        for path in self._kept()[:-MAX_VERSIONS]:
            if path.name != current:
                logger.info("version %s is removed: %d newer versions are kept", path.name, MAX_VERSIONS)
                shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.glob(".*.new-*"):  # an interrupted copy; a recent one may still be in progress
            if time.time() - path.stat().st_mtime > MAX_COPY_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
