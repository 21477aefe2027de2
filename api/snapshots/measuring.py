"""Owns measuring one stretch of the log: read it, explain it, take its snapshot."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from api.prediction_log.database import Database
from api.prediction_log.reader import WindowRows, read_labelled, read_predictions, read_rejections
from api.snapshots.explanations import WindowExplanations
from api.snapshots.frames import window_frame
from api.snapshots.measured import Measured
from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.artifact import read_manifest, read_reference


@dataclass(frozen=True, slots=True)
class Enough:
    """How many rows and labels say something, and how many rows are measured at most."""

    min_rows: int
    min_labels: int
    max_rows: int


class Measuring:
    """Measures stretches of one log against one model's reference. Raises model.errors.ArtifactError."""

    def __init__(self, database: Database, model_dir: Path, enough: Enough) -> None:
        self._database = database
        self._enough = enough
        self.manifest = read_manifest(model_dir)
        self._reference = read_reference(model_dir)
        self._explanations = WindowExplanations(model_dir)

    def measure(self, start: datetime, end: datetime) -> Measured:
        """Measure the rows logged, and the labels that arrived, in [start, end). Raises LogUnavailable."""
        enough, manifest = self._enough, self.manifest
        span = (self._database, start, end, manifest.version, enough.max_rows)
        logged, labelled = read_predictions(*span), read_labelled(*span)
        if logged.total < enough.min_rows and labelled.total < enough.min_labels:
            return Measured(logged, labelled, None, self._shortage(logged, labelled))
        current = window_frame(logged.rows, manifest, labelled=False)
        attributions, attributions_missing = self._explanations.explain(current)
        snapshot = take_snapshot(
            Window(start, end),
            current,
            window_frame(labelled.rows, manifest, labelled=True),
            self._reference,
            manifest,
            min_rows=enough.min_rows,
            min_labels=enough.min_labels,
            sampled_fraction=logged.fraction,
            attributions=attributions,
            attributions_missing=attributions_missing,
            rejected_requests=read_rejections(self._database, start, end),
        )
        return Measured(logged, labelled, snapshot, None)

    def _shortage(self, logged: WindowRows, labelled: WindowRows) -> str:
        reason = (
            f"not enough data: {logged.total} of at least {self._enough.min_rows} rows, "
            f"{labelled.total} of at least {self._enough.min_labels} labels"
        )
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows were predicted by another version of the model"
        return reason
