"""Owns measuring one stretch of the log: read it, explain it, take its snapshot."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from api.kept_models import KeptModels
from api.prediction_log.database import Database
from api.prediction_log.reader import WindowRows, read_labelled, read_predictions, read_rejections
from api.prediction_log.version_counts import count_versions
from api.snapshots.frames import window_frame
from api.snapshots.measured import Measured
from api.snapshots.window_models import WindowModels
from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Enough:
    """How many rows and labels say something, and how many rows are measured at most."""

    min_rows: int
    min_labels: int
    max_rows: int


class Measuring:
    """Measures stretches of one log, each against the reference of the version that made most of its rows.

    Raises model.errors.ArtifactError.
    """

    def __init__(self, database: Database, model_dir: Path, kept: KeptModels, enough: Enough) -> None:
        self._database = database
        self._enough = enough
        self._models = WindowModels(model_dir, kept)

    @property
    def manifest(self) -> Manifest:
        """What is known of the version that was read last."""
        return self._models.newest.manifest

    def measure(self, start: datetime, end: datetime) -> Measured:
        """Measure the rows logged, and the labels that arrived, in [start, end).

        Raises LogUnavailable, and ArtifactError where the rows' version cannot be read from the folder.
        """
        enough = self._enough
        counts = count_versions(self._database, start, end)
        model = self._models.choose(counts, enough.min_rows, enough.min_labels)
        manifest = model.manifest
        span = (self._database, start, end, manifest.version, enough.max_rows)
        logged, labelled = read_predictions(*span), read_labelled(*span)
        if logged.total < enough.min_rows and labelled.total < enough.min_labels:
            return Measured(logged, labelled, None, self._shortage(logged, labelled), manifest)
        current = window_frame(logged.rows, manifest, labelled=False)
        attributions, attributions_missing = model.explanations.explain(current)
        snapshot = take_snapshot(
            Window(start, end),
            current,
            window_frame(labelled.rows, manifest, labelled=True),
            model.reference,
            manifest,
            min_rows=enough.min_rows,
            min_labels=enough.min_labels,
            sampled_fraction=logged.fraction,
            attributions=attributions,
            attributions_missing=attributions_missing,
            rejected_requests=read_rejections(self._database, start, end),
            rows_by_version={version: count.rows for version, count in counts.items()},
            other_labels=labelled.other_versions,
        )
        return Measured(logged, labelled, snapshot, None, manifest)

    def _shortage(self, logged: WindowRows, labelled: WindowRows) -> str:
        reason = (
            f"not enough data: {logged.total} of at least {self._enough.min_rows} rows, "
            f"{labelled.total} of at least {self._enough.min_labels} labels"
        )
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows were predicted by another version of the model"
        return reason
