"""The version of the model that a window is measured against. Runs in the worker process: it needs pandas."""

import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import process_time

import numpy as np
import numpy.typing as npt
import pandas as pd

from api.prediction_log.reader import VersionCount
from api.serving.model_archive import ModelArchive
from model.artifact.estimates import Estimates
from model.artifact.manifest import Manifest
from model.artifact.store import read_estimates, read_manifest, read_reference
from model.errors import ArtifactError, ExplanationError
from model.explain.explainer import Explainer, load_explainer
from model.statistics.attribution import MAX_EXPLAINED_ROWS

logger = logging.getLogger(__name__)

MAX_EXPLAINED_SHARE, MAX_EXPLAINING_SECONDS = 0.03, 5.0
"""CPU time for the explanations of one window, at most: this part of the window's length, and these seconds."""
MIN_EXPLAINED_ROWS = 50
"""Rows that are explained whatever it costs: of fewer, a mean says little."""


class WindowExplanations:
    """Explains windows with the model of an artifact folder, which is loaded once.

    How many rows of a window are explained follows from what those of the windows before it cost; the first window's
    follow from what the proof of the explainer cost.
    """

    def __init__(self, model_dir: Path) -> None:
        self._explainer: Explainer | None = None
        self._reason: str | None = None
        self._seconds_a_row = 0.0
        try:
            self._explainer = load_explainer(model_dir)
            self._seconds_a_row = self._explainer.proof_seconds / self._explainer.proof_rows
        except ExplanationError as error:
            self._reason = str(error)

    def explain(self, current: pd.DataFrame, length: timedelta) -> tuple[npt.NDArray[np.float64] | None, str | None]:
        """Return |SHAP| of some rows of a window of this length, (rows, features), or None with the reason.

        They are at most MAX_EXPLAINED_ROWS, and as many as the budget of CPU time allows. They are drawn with a fixed
        seed, so that a second try of a window explains the same rows where it explains as many.
        """
        if self._explainer is None:
            return None, self._reason
        if current.empty:
            return None, "no predictions in this window"
        most = self.affordable_rows(length)
        rows = current.iloc[_places(len(current), most)]
        began = process_time()
        found = self._explainer.attributions(rows)
        self._seconds_a_row = (process_time() - began) / len(rows)
        return found, None

    def affordable_rows(self, length: timedelta) -> int:
        """Return how many rows of a window of this length may be explained, in steps that noise seldom crosses."""
        budget = min(MAX_EXPLAINING_SECONDS, MAX_EXPLAINED_SHARE * length.total_seconds())
        rows = budget / max(self._seconds_a_row, 1e-9)
        steps = (50, 100, 200, 350, MAX_EXPLAINED_ROWS)
        return max([MIN_EXPLAINED_ROWS, *(step for step in steps if step <= rows)])


def explained_places(rows: int, attributions: npt.NDArray[np.float64] | None) -> npt.NDArray[np.intp] | None:
    """Return which of a window's rows have these attributions."""
    return None if attributions is None else _places(rows, len(attributions))


def _places(rows: int, explained: int) -> npt.NDArray[np.intp]:
    every = np.arange(rows)
    return every if rows <= explained else pd.Series(every).sample(explained, random_state=0).to_numpy()


MAX_LOADED = 3
"""Versions in memory: windows that waited while another version was loaded have rows of the one before."""


@dataclass(frozen=True, slots=True)
class WindowModel:
    """What a window is measured against: a version's manifest, reference rows, explainer and what it estimates by."""

    manifest: Manifest
    reference: pd.DataFrame
    explanations: WindowExplanations
    estimates: Estimates | None


class WindowModels:
    """The version in an artifact folder, which is read again for each window, and the versions that served before it.

    The earlier ones are in memory or in the ``archive``. Raises model.errors.ArtifactError where the folder holds no
    version at the start.
    """

    def __init__(self, folder: Path, archive: ModelArchive) -> None:
        self._folder = folder
        self._archive = archive
        self._newest = self._load(folder)
        self._loaded = {self._newest.manifest.version: self._newest}

    @property
    def newest(self) -> WindowModel:
        """The version that was read from the folder last."""
        return self._newest

    def choose(self, counts: Mapping[str, VersionCount], min_rows: int, min_labels: int) -> WindowModel:
        """Return the version to measure a window against: of the available ones, the one that made most of its rows.

        A version with too few rows counts by the labels that arrived for it. Of equals it is the newest, and if no
        available version made any row, it is the newest too. Raises ArtifactError where the folder cannot be read and
        no earlier version has made any row of the window.
        """

        def share(version: str) -> tuple[int, int, int, int]:
            count = counts.get(version, VersionCount(0, 0))
            rows = count.rows if count.rows >= min_rows else 0
            labels = count.labels if count.labels >= min_labels else 0
            return rows, labels, count.rows, count.labels

        archived = [one for one in self._archive.versions() if one in counts and one not in self._loaded]
        try:
            in_folder = read_manifest(self._folder).version
        except ArtifactError as error:
            self._go_on_without_the_folder(counts.keys() & {*archived, *self._loaded}, counts, error)
            in_folder = self._newest.manifest.version
        candidates = [*(version for version in (*archived, *self._loaded) if version != in_folder), in_folder]
        while (best := max(reversed(candidates), key=share)) not in self._loaded:  # of equals, max takes the first
            if best == in_folder:
                self._newest = self._hold(self._load(self._folder))
                return self._loaded.get(best, self._newest)
            if not self._read_archived(best):
                candidates.remove(best)
        return self._loaded[best]

    def _read_archived(self, version: str) -> bool:
        """Read a version that served before; no window waits for one that is damaged."""
        try:
            self._hold(self._load(self._archive.folder_of(version)))
        except ArtifactError as error:
            logger.warning("version %s, which served before, cannot be read: %s", version, error)
            return False
        return version in self._loaded

    def _go_on_without_the_folder(
        self, available: AbstractSet[str], counts: Mapping[str, VersionCount], error: ArtifactError
    ) -> None:
        if counts and not available:
            raise error
        logger.warning("windows are measured against versions that were read before: %s", error)

    def _hold(self, model: WindowModel) -> WindowModel:
        logger.info("windows of version %s are measured from now on", model.manifest.version)
        self._loaded[model.manifest.version] = model
        while len(self._loaded) > MAX_LOADED:
            del self._loaded[next(one for one in self._loaded if one != self._newest.manifest.version)]
        return model

    @staticmethod
    def _load(folder: Path) -> WindowModel:
        manifest = read_manifest(folder)
        model = WindowModel(manifest, read_reference(folder), WindowExplanations(folder), read_estimates(folder))
        if read_manifest(folder).version != manifest.version:
            raise ArtifactError(f"{folder} changed while it was read; it will be read again soon")
        return model
