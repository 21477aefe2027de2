"""Owns which version of the model a window is measured against. Runs in the snapshot worker: it needs pandas."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from api.prediction_log.version_counts import VersionCount
from api.snapshots.explanations import WindowExplanations
from model.artifact import read_manifest, read_reference
from model.errors import ArtifactError
from model.manifest import Manifest

logger = logging.getLogger(__name__)

KEPT = 3
"""Versions kept in memory: windows that waited while the model was rolled have rows of the one before."""


@dataclass(frozen=True, slots=True)
class WindowModel:
    """What a window is measured against: one version's manifest, its reference rows, and what explains it."""

    manifest: Manifest
    reference: pd.DataFrame
    explanations: WindowExplanations


class WindowModels:
    """The version in an artifact folder, which is looked at for each window, and those that were there before.

    Raises model.errors.ArtifactError where there is none to begin with.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        first = self._load()
        self._kept = {first.manifest.version: first}

    @property
    def newest(self) -> WindowModel:
        """The version that was read from the folder last."""
        return next(reversed(self._kept.values()))

    def choose(self, counts: Mapping[str, VersionCount], min_rows: int, min_labels: int) -> WindowModel:
        """Return the version to measure a window against: of those at hand, the one that made most of its rows.

        A version with too few rows counts by the labels that arrived for it. Of equals the newest is taken, and where
        none at hand made any row, the newest too. Raises ArtifactError where the folder cannot be read and no version
        that was there before has made any row of the window.
        """

        def share(version: str) -> tuple[int, int, int, int]:
            count = counts.get(version, VersionCount(0, 0))
            enough = count.rows if count.rows >= min_rows else 0, count.labels if count.labels >= min_labels else 0
            return *enough, count.rows, count.labels

        try:
            in_folder = read_manifest(self._folder).version
        except ArtifactError as error:
            self._go_on_without_the_folder(counts, error)
            in_folder = self.newest.manifest.version
        candidates = [*(version for version in self._kept if version != in_folder), in_folder]
        best = max(reversed(candidates), key=share)  # of equals, max takes the first
        if best not in self._kept:
            self._keep(self._load())
        return self._kept.get(best, self.newest)

    def _go_on_without_the_folder(self, counts: Mapping[str, VersionCount], error: ArtifactError) -> None:
        if counts and not counts.keys() & self._kept.keys():
            raise error
        logger.warning("windows are measured against versions read before: %s", error)

    def _keep(self, model: WindowModel) -> None:
        logger.info("windows of version %s are measured from now on", model.manifest.version)
        self._kept[model.manifest.version] = model
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def _load(self) -> WindowModel:
        manifest = read_manifest(self._folder)
        model = WindowModel(manifest, read_reference(self._folder), WindowExplanations(self._folder))
        if read_manifest(self._folder).version != manifest.version:
            raise ArtifactError(f"{self._folder} changed while it was read; it is read again shortly")
        return model
